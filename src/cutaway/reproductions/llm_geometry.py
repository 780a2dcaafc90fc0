"""Language-model geometry as a detector: the paper's claims at the size of a 260k-parameter model.

The paper's models (7 to 70 billion parameters) and Omni-Toxic cannot be had here, so its AUROCs stand beside ours as a
report. What can be tested: the features' definition on any gate, 7 L of them, ID as a count bounded by the context, and
whether features of the trained model beat those of an untrained one. Its headline pits toxic text against *other
domains*; our table says which rows do that and which stay within one source.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from cutaway.guard.rows import PromptRows, read_rows
from cutaway.reproductions.row import Row

TITLE = "Geometry of language models: seven features a block, and intrinsic dimension"
SOURCE = "arXiv 2312.01648"


def reproduce(*, short: bool, seed: int = 0, progress=print) -> list[Row]:
    """The rows; without CUTAWAY_DATA only the definitions are checked."""
    progress("definitions on random weights")
    rows = _definitions(seed)
    found = corpora(seed, 240 if short else 1200)
    if found is None:
        return [*rows, skipped("detection and intrinsic dimension")]
    folder, texts = found
    progress("detection on real text")
    rows += _detection(folder, texts, seed, short)
    progress("intrinsic dimension against context")
    return rows + _contexts(folder, seed, 4 if short else 16)


def skipped(what: str) -> Row:
    """The row that says that data are missing."""
    return Row(quantity=what, paper=None, ours="left out: set CUTAWAY_DATA", verdict="not run")


def corpora(seed: int, per_class: int) -> tuple[str, PromptRows] | None:
    """(model folder, safety prompts against harmless instructions), equally many of both where there are enough."""
    data = Path(os.environ.get("CUTAWAY_DATA", ""))
    if not os.environ.get("CUTAWAY_DATA") or not (data / "text" / "safety_prompts.parquet").is_file():
        return None
    rng = np.random.default_rng(seed)
    harmful = read_rows(data / "text" / "safety_prompts.parquet").deduplicated()
    harmful = harmful.subset(rng.permutation(len(harmful))[:per_class])
    harmless = read_rows(data / "text" / "alpaca_instructions.parquet", positive=["harmless"]).deduplicated()
    harmless = harmless.subset(rng.permutation(len(harmless))[:per_class])
    rows = PromptRows(
        name="safety prompts and instructions",
        texts=harmful.texts + harmless.texts,
        labels=np.concatenate([harmful.labels, np.zeros(len(harmless), dtype=np.int64)]),
        sources=harmful.sources + harmless.sources,
    )
    return str(data / "stories260k"), rows


def _definitions(seed: int) -> list[Row]:
    from cutaway.language.geometry import GeometryReader

    generator = torch.Generator().manual_seed(seed)
    model = _Small(generator).eval()
    tokens = torch.randint(0, 40, (1, 12), generator=generator)
    reader = GeometryReader(model, tokens)
    got = reader.read(tokens).pooled[0].double()
    state, worst = model.embed(tokens)[0], 0.0
    for k, (up, down) in enumerate(model.pairs):
        h = (state @ up.weight.T + up.bias).double()
        s, d = (h > 0).double().mean(1), (h.abs() / up.weight.double().norm(dim=1)).amin(1)
        want = torch.stack([s.mean(), s.min(), s.max(), s.std(), d.min(), d.mean(), d.std()])
        worst = max(worst, float((want - got[k]).abs().max().detach()))
        state = state + down(torch.relu(state @ up.weight.T + up.bias))
    return [
        Row(
            quantity="features of a model with 3 blocks",
            paper=21,
            reference="published",
            ours=got.numel(),
            tolerance=0,
            verdict="pass" if got.numel() == 21 else "fail",
        ),
        Row(
            quantity="largest difference from Eqs. 1 to 7 transcribed",
            paper=0.0,
            reference="published",
            ours=worst,
            tolerance=1e-5,
            verdict="pass" if worst <= 1e-5 else "fail",
        ),
    ]


class _Small(torch.nn.Module):
    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(40, 16)
        pairs = [(torch.nn.Linear(16, 32), torch.nn.Linear(32, 16)) for _ in range(3)]
        self.blocks = torch.nn.ModuleList(torch.nn.ModuleList(pair) for pair in pairs)
        self.pairs = pairs
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)

    def forward(self, tokens):
        state = self.embed(tokens)
        for up, down in self.pairs:
            state = state + down(torch.relu(up(state)))
        return state


def _detection(folder: str, rows: PromptRows, seed: int, short: bool) -> list[Row]:
    from cutaway.guard import Guardrail
    from cutaway.guard.baselines import DETECTORS, compare

    order = np.random.default_rng(seed).permutation(len(rows))
    cut = int(0.7 * len(rows))
    guard = Guardrail(folder, features="geometry", rate=0.1, seed=seed)
    names = ("geometry", "random-network", "tf-idf") if short else DETECTORS
    found = compare(guard, rows.subset(order[:cut]), rows.subset(order[cut:]), detectors=names, seed=seed)
    published = {"geometry": 0.9918}
    table = [
        Row(
            quantity=f"AUROC, {name} (harmful prompts against instructions: another domain)",
            paper=published.get(name),
            reference="published" if name in published else "own",
            ours=e.overall.auroc,
            low=e.overall.auroc_low,
            high=e.overall.auroc_high,
            verdict="report",
        )
        for name, e in found.evaluations.items()
    ]
    inside = np.array(found.rows.sources) == "XSTest"
    if len(set(found.rows.labels[inside])) == 2:
        from cutaway.guard.evaluation import auroc, auroc_interval

        scores, labels = found.scores["geometry"][inside], found.rows.labels[inside]
        low, high = auroc_interval(scores, labels, seed=seed)
        table.append(
            Row(
                quantity="AUROC, geometry, within XSTest (same domain)",
                paper=0.898,
                reference="published",
                ours=auroc(scores, labels),
                low=low,
                high=high,
                verdict="report",
            )
        )
    learned, none = (found.evaluations[k].overall.auroc for k in ("geometry", "random-network"))
    chance = found.evaluations["geometry"].overall.auroc_low > 0.5
    return [
        *table,
        Row(
            quantity="features of the trained model tell harmful from harmless",
            paper="yes",
            reference="published",
            ours=learned,
            tolerance="interval above 0.5",
            verdict="pass" if chance else "fail",
        ),
        Row(
            quantity="trained minus untrained network, AUROC",
            paper=None,
            ours=learned - none,
            verdict="report",
        ),
    ]


STORY = "Once upon a time there was a little girl called Lily. She had a red ball and she played in the park. "
OTHER = "The tax office sends a form in spring. Pipes of lead are soft. Numbers divide evenly or they do not. "


def _contexts(folder: str, seed: int, repeats: int) -> list[Row]:
    """ID of the last block with related and unrelated sentences in front of a story sentence, equal token counts."""
    from cutaway.language.dimension import intrinsic_dimension
    from cutaway.network.sources import load_model

    loaded = load_model(folder)

    def ids(text: str) -> list[int]:
        return list(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])

    question = ids("Lily kicked the ball to")
    means: dict[str, list[float]] = {"related": [], "unrelated": []}
    rng = np.random.default_rng(seed)
    for _ in range(repeats):
        for name, text in (("related", STORY), ("unrelated", OTHER)):
            pool = ids(text * 6)
            start = int(rng.integers(0, 30))
            row = torch.tensor([[1, *pool[start : start + 96], *question]])
            got = intrinsic_dimension(loaded.model, row)
            means[name].append(float(got[0, -1].sum()))
    short = float(intrinsic_dimension(loaded.model, torch.tensor([[1, *question]]))[0, -1].sum())
    longer = float(np.mean(means["related"]))
    return [
        Row(
            quantity="ID of the last block grows with context (0 to 96 tokens)",
            paper="grows",
            reference="published",
            ours=f"{short:.0f} to {longer:.1f}",
            tolerance="larger",
            verdict="pass" if longer > short else "fail",
        ),
        Row(
            quantity="ID with related minus unrelated context of equal length",
            paper="larger when related",
            reference="published",
            ours=longer - float(np.mean(means["unrelated"])),
            verdict="report",
        ),
    ]
