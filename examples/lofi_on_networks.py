"""Which label-relevant directions do a trained CNN and a language model's MLPs hold, and are they used? With nulls.

The CNN is trained on Fashion-MNIST (digits where that is not at hand); its null are re-initialised twins. The language
model is a small Llama that reads film reviews and medical questions, with these two domains as labels; it is read when
the environment variable CUTAWAY_DATA names a folder that holds it and the extra `hf` is installed.

    python examples/lofi_on_networks.py [--twins N]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from cutaway.data import Dataset, load_data
from cutaway.instruments import LofiFeatures
from cutaway.network import Network
from cutaway.reading import Reading


def train_cnn(train: Dataset, *, steps: int = 150, seed: int = 0) -> nn.Module:
    """Two convolutions and a hidden layer, Adam, batches of 64."""
    channels, side = train.inputs.shape[1], train.inputs.shape[2] // 4
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * side * side, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip
        optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
        assert train.labels is not None
        for _ in range(steps):
            rows = torch.randint(len(train), (64,))
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(train.inputs[rows]), train.labels[rows]).backward()
            optimizer.step()
    return net.eval()


def read_with_null(model: nn.Module, data: Dataset, twins: int) -> Reading:
    """The instrument on a network and on `twins` re-initialised copies of it."""
    instrument = LofiFeatures(num_points=600)
    network = Network(model, data.inputs[:2])
    reading = instrument.measure(network, data)
    return reading.against([instrument.measure(network.twin(seed), data) for seed in range(twins)])


def images(twins: int) -> Reading:
    """The CNN on held-out images."""
    name = "fashion-mnist" if (Path(os.environ.get("CUTAWAY_DATA", "")) / "fashion_mnist").is_dir() else "digits"
    train, test = load_data(name, "train", 1200), load_data(name, "test", 500 if name == "fashion-mnist" else 300)
    print("images:", name)
    return read_with_null(train_cnn(train), test, twins)


def language(twins: int) -> Reading | None:
    """The Llama's MLP blocks on reviews and questions, or None where model or extra are not at hand."""
    folder = Path(os.environ.get("CUTAWAY_DATA", ""))
    if not (folder / "stories260k").is_dir() or find_spec("transformers") is None:
        print("language model: left out (needs CUTAWAY_DATA with stories260k, and the extra 'hf')")
        return None
    import pandas
    from tokenizers import Tokenizer

    from cutaway.network.sources import load_model

    loaded = load_model(folder / "stories260k")
    tokenizer = Tokenizer.from_file(str(folder / "stories260k" / "tokenizer.json"))
    reviews = pandas.read_parquet(folder / "text" / "sst_dev.parquet")["text"].tolist()
    questions = pandas.read_parquet(folder / "text" / "medical_safety.parquet")["text"].tolist()
    rows, labels = [], []
    for label, texts in enumerate((reviews, questions)):
        tokens = [[1, *tokenizer.encode(text).ids][:24] for text in texts[:700]]
        kept = [t for t in tokens if len(t) == 24][:300]
        rows += kept
        labels += [label] * len(kept)
    data = Dataset(name="reviews and questions", inputs=torch.tensor(rows), labels=torch.tensor(labels), num_classes=2)
    return read_with_null(loaded.model, data, twins)


def main(arguments: Sequence[str] = ()) -> dict[str, Reading]:
    """Print both readings, site by site, and return them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--twins", type=int, default=2, help="re-initialised copies that give the null")
    options = parser.parse_args(list(arguments))
    found = {}
    for name, read in (("images", images), ("language", language)):
        reading = read(options.twins)
        if reading is None:
            continue
        found[name] = reading
        for figure in reading.figures:
            print(f"  {figure.told()}")
        table = reading.values
        for site in table["site"].values.tolist():
            row = table.sel(site=site)
            print(
                f"  {site}: {int(row['num_relevant'])} relevant, {int(row['num_unused'])} of them unused, alignment "
                f"{float(row['alignment']):.2f} (permuted labels {float(row['alignment_null']):.2f}, "
                f"p = {float(row['alignment_p']):.2f})"
            )
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
