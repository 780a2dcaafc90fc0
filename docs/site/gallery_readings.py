"""What each instrument says of the example networks: its picture, its sentence and its figures beside the null.

Images: a small network trained on scikit-learn's digits. Prompts: a Llama of 260,000 parameters on film reviews and
medical questions, where the folder of real data is there.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cutaway import registry
from cutaway.data import Dataset, load_data
from cutaway.evidence import NULLS, replicates
from cutaway.geometry import Plane, plane_through, square_around
from cutaway.instrument import Instrument
from cutaway.network import Network
from cutaway.network.sources import load_model
from cutaway.reading import Reading
from cutaway.wording import said

COUNT = 39
COSTLY = 9
"""Replicates of instruments that a scan leaves out for their cost."""


@cache
def trained(epochs: int = 30) -> nn.Module:
    """64-64-32-10, Adam, batches of 64."""
    train = load_data("digits", split="train")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)
        )
        optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(epochs):
            for rows in torch.randperm(len(train)).split(64):
                optimiser.zero_grad()
                nn.functional.cross_entropy(model(train.inputs[rows]), train.labels[rows]).backward()
                optimiser.step()
    return model.eval()


def digits() -> tuple[Network, Dataset, str]:
    """The network on its held-out digits."""
    data = load_data("digits", split="test")
    return Network(trained(), data.inputs[:2], name="digits 64-64-32"), data, "a network trained on digits"


def plane_of_digits() -> tuple[Plane, np.ndarray]:
    """The plane through a 3, a 5 and an 8, and the square that holds them."""
    _, data, _ = digits()
    rows = [int((data.labels == digit).nonzero()[0]) for digit in (3, 5, 8)]
    plane = plane_through(data.inputs[rows].double().numpy())
    return plane, square_around(plane, 1.1 * float(np.abs(plane.anchors).sum(axis=1).max()))


@cache
def prompts() -> tuple[Network, Dataset, str] | None:
    """The small Llama on rows of 24 tokens, labelled by domain; None where it is not at hand."""
    folder = Path(os.environ.get("CUTAWAY_DATA", ""))
    if not (folder / "stories260k").is_dir():
        return None
    import pandas
    from tokenizers import Tokenizer

    loaded = load_model(folder / "stories260k")
    tokenizer = Tokenizer.from_file(str(folder / "stories260k" / "tokenizer.json"))
    rows, labels = [], []
    for label, name in enumerate(("sst_dev", "medical_safety")):
        texts = pandas.read_parquet(folder / "text" / f"{name}.parquet")["text"].tolist()
        tokens = [[1, *tokenizer.encode(text).ids][:24] for text in texts[:400]]
        kept = [t for t in tokens if len(t) == 24][:100]
        rows += kept
        labels += [label] * len(kept)
    data = Dataset(name="reviews and questions", inputs=torch.tensor(rows), labels=torch.tensor(labels), num_classes=2)
    return Network(loaded.model, data.inputs[:2], name="Llama 260K"), data, "a language model of 260,000 parameters"


def write(name: str, folder: Path) -> None:
    """`record.json` and the picture of one instrument."""
    kind = registry.instrument(name)
    folder.mkdir(parents=True)
    subject = prompts() if "tokens" in kind.needs else digits()
    record = {"subject": "", "image": "", "figures": [], "words": "its language model is not at hand (CUTAWAY_DATA)"}
    unmet = kind.needs - {"labels", "inputs", "tokens", "classifier"}
    if unmet:
        record["words"] = f"it needs {', '.join(sorted(unmet))}, which the example network has not"
    elif subject is not None:
        reading = measured(kind, *subject[:2])
        record |= {"subject": subject[2], "words": _sentence(kind, reading), "figures": _figures(reading)}
        if reading.figures:
            reading.plot(folder / "picture.svg")
            record["image"] = "picture.svg"
    (folder / "record.json").write_text(json.dumps(record), encoding="utf-8")


def measured(kind: type[Instrument], network: Network, data: Dataset) -> Reading:
    """The reading, beside its null where it has one."""
    instrument = kind.suited(data)
    reading = instrument.measure(network, data)
    null = NULLS.get(kind.null)
    if null is None or not reading.figures:
        return reading
    count = COUNT if kind.in_scan else COSTLY
    return reading.against(replicates(instrument, network, data, null, count=count), null=kind.null)


def _sentence(kind: type[Instrument], reading: Reading) -> str:
    return kind(**reading.provenance.parameters).describe(reading) if reading.figures else reading.reason


def _figures(reading: Reading) -> list[list[str]]:
    rows = []
    for f in reading.figures:
        unit = "" if f.unit in ("", "1") else f" {f.unit}"
        span = "" if f.low is None else f"{said(f.low)} to {said(f.high)}"
        null = "" if f.null_median is None else said(f.null_median)
        rows.append([f.called, f"{said(f.value)}{unit}", span, null, "" if f.p_value is None else said(f.p_value)])
    return rows
