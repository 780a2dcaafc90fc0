"""NLP verification: perturbation boxes, training on regions, verification, on R-U-A-Robot and Medical.

The paper embeds with a 384-dimensional sentence encoder that cannot be had here; ours are the mean hidden state of a
260k-parameter story decoder and word counts (TF-IDF, SVD), so shares are a report beside the paper's and beside what
the published boxes give. What can be tested is what the method claims of itself: training on regions raises
verifiability, shrunk boxes hold no sentence of the other class, cubes generalise less than boxes of perturbations, no
test row enters any fit; and that a region large enough to hold unseen sentences of its class can be verified, which is
a matter of dimension: in 30 dimensions a box round six points holds next to nothing else.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from cutaway.data.parquet import parquet_rows
from cutaway.guard.nlp import SentenceSettings, WordCounts, run_pipeline
from cutaway.reproductions.row import Row

TITLE = "Verification of sentence classifiers"
SOURCE = "arXiv 2403.10144"

EARLIER = {  # share of released boxes proved by CROWN, in per cent, from our own run over all 10,812 of them
    ("medical", "word"): 64.0,
    ("medical", "character"): 51.1,
    ("ruarobot", "word"): 3.7,
    ("ruarobot", "character"): 3.4,
}


def reproduce(*, short: bool, seed: int = 0, progress=print) -> list[Row]:
    """The rows; needs CUTAWAY_DATA for texts and the embedding model."""
    folder = os.environ.get("CUTAWAY_DATA", "")
    if not folder or not (Path(folder) / "text" / "ruarobot.parquet").is_file():
        return [Row(quantity="all", paper=None, ours="left out: set CUTAWAY_DATA", verdict="not run")]
    embed = _embedding(Path(folder) / "stories260k")
    rows: list[Row] = []
    plan = {"medical": _medical, "ruarobot": _ruarobot}
    regions = ("cube", "word", "cluster") if short else ("cube", "character", "word", "sentence", "cluster")
    seeds = range(seed, seed + (1 if short else 3))
    for name, read in plan.items():
        if short and name == "ruarobot":
            continue
        train, test = read(Path(folder) / "text", seed, 400 if short else 1200)
        rows += _study(name, train, test, embed, regions, list(seeds), short, progress)
        rows += _sizes(name, train, test, embed, seed, short, progress)
    return rows


_SIZES = (
    ("cube", 0.2, 1),
    ("cube", 0.4, 1),
    ("cube", 0.8, 1),
    ("word", 0.05, 1),
    ("cluster", 0.05, 20),
    ("cluster", 0.05, 100),
)


def _sizes(name, train, test, decoder, seed, short, progress) -> list[Row]:
    """What regions of several sizes and dimensions hold of unseen sentences, beside what they hold of the other
    class."""
    rows, best = [], (0.0, 0.0, "none")
    words = WordCounts(train[0])
    for title, embed in (("word counts", words),) if short else (("word counts", words), ("decoder", decoder)):
        for dimension in (5,) if short else (5, 10, 30):
            for region, epsilon, clusters in _SIZES[1:5:3] if short else _SIZES:
                settings = SentenceSettings(
                    region=region,
                    epsilon=epsilon,
                    clusters=clusters,
                    dimension=dimension,
                    epochs=60,
                    count=3 if short else 5,
                )
                found = run_pipeline(train, test, embed, settings=settings, seed=seed)
                own, reach, other = found.generalisability, found.reach, found.embedding_error
                share, f1 = found.verifiability, found.f1
                size = {"cube": f"cubes {epsilon}", "cluster": f"{clusters} shrunk boxes"}.get(
                    region, f"{region} boxes"
                )
                what = f"{title}, {dimension} dimensions, {size}"
                progress(f"{name}: {what}: holds {own:.3f}, of the other class {other:.3f}")
                rows.append(
                    Row(
                        quantity=f"{name}: unseen sentences held by verified regions; {what}",
                        paper=None,
                        ours=own,
                        tolerance=f"by all {reach:.3f}; other class {other:.3f}; verified {share:.2f}; F1 {f1:.2f}",
                        verdict="report",
                    )
                )
                if own >= 2 * other and own > best[0]:
                    best = (own, other, what)
    rows.append(
        Row(
            quantity=f"{name}: most unseen sentences held, with at least twice the share of the other class",
            paper="> 0",
            reference="published",
            ours=best[0],
            tolerance=f"at least 0.05; {best[2]}, other class {best[1]:.3f}",
            verdict="pass" if best[0] >= 0.05 else "fail",
        )
    )
    return rows


def _study(name, train, test, embed, regions, seeds, short, progress) -> list[Row]:
    rows, shares = [], {}
    for region in regions:
        for adversarial in (False, True):
            progress(f"{name}, {region} regions, {'with' if adversarial else 'without'} region training")
            settings = SentenceSettings(
                region=region, adversarial=adversarial, epochs=60, count=3 if short else 5, clusters=20
            )
            found = [run_pipeline(train, test, embed, settings=settings, seed=s) for s in seeds]
            shares[region, adversarial] = _mean_and_spread([f.verifiability for f in found])[0]
            if adversarial:
                rows += _table(name, region, found)
                overlap = sum(f.overlap for f in found)
                if region == "cluster":
                    rows.append(
                        _row(f"{name}: verified shrunk boxes holding the other class", 0, overlap, 0, overlap == 0)
                    )
                    rows.append(shrunk_row(name, train, embed, seeds[0]))
        gain = shares[region, True] - shares[region, False]
        none = bool(np.isnan(gain))
        rows.append(
            Row(
                quantity=f"{name}, {region}: verifiability gained by training on regions",
                paper="gains",
                reference="published",
                ours="not available: no region" if none else gain,
                tolerance=">= -0.02",
                verdict="report" if none else ("pass" if gain >= -0.02 else "fail"),
            )
        )
    return rows


def shrunk_row(name, train, embed, seed: int) -> Row:
    """All shrunk boxes, verified or not, in 5 dimensions, where boxes that are not shrunk do hold the other class."""
    from cutaway.guard.nlp.boxes import Boxes, cluster_boxes
    from cutaway.guard.nlp.pipeline import Projection

    raw, labels = embed(train[0]), np.asarray(train[1])
    points = Projection(raw, labels == 0, 5)(raw)
    own, other = points[labels == 0], points[labels == 1]
    boxes = cluster_boxes(own, other, count=20, seed=seed)
    whole = Boxes(lower=own.min(0)[None], upper=own.max(0)[None], owner=np.array([-1]))
    held, loose = (int(b.inside(other).any(1).sum()) for b in (boxes, whole))
    quantity = f"{name}: sentences of the other class in any of {len(boxes)} shrunk boxes (in one box of all: {loose})"
    return _row(quantity, 0, held, 0, held == 0 and loose > 0)


_SHOWN = (
    "verifiability",
    "generalisability",
    "reach",
    "embedding_error",
    "falsifiability",
    "precision",
    "recall",
    "f1",
)


def _table(name, region, found) -> list[Row]:
    made = []
    for key in _SHOWN:
        mean, spread = _mean_and_spread([getattr(f, key) for f in found])
        before = EARLIER.get((name, region)) if key == "verifiability" else None
        of_released = "" if before is None else f" (released boxes, all: {before / 100:.3f})"
        none = bool(np.isnan(mean))
        made.append(
            Row(
                quantity=f"{name}, {region}: {key.replace('_', ' ')}{of_released}",
                ours=f"not available: {_NOTHING.get(key, 'no region')}" if none else mean,
                low=None if none else mean - spread,
                high=None if none else mean + spread,
                verdict="report",
            )
        )
    return made


_NOTHING = {  # of what there is none where a share cannot be told
    "falsifiability": "no region verified",
    "precision": "no sentence given the class",
    "f1": "no sentence given the class rightly",
    "recall": "no sentence of the class",
}


def _mean_and_spread(values: list[float]) -> tuple[float, float]:
    """Mean and standard deviation over the seeds that have a value; NaN and 0 where none has."""
    known = np.array([v for v in values if not np.isnan(v)])
    return (float(known.mean()), float(known.std())) if known.size else (float("nan"), 0.0)


def _row(quantity, paper, ours, tolerance, good: bool) -> Row:
    return Row(
        quantity=quantity,
        paper=paper,
        reference="published",
        ours=ours,
        tolerance=tolerance,
        verdict="pass" if good else "fail",
    )


def _embedding(folder: Path):
    from cutaway.guard.features import PromptFeatures
    from cutaway.network.sources import load_model

    loaded = load_model(folder)
    reader = PromptFeatures(loaded.model, loaded.tokenizer, kind="hidden", batch_size=64, max_length=96, plain=False)
    known: dict[str, np.ndarray] = {}

    def embed(texts) -> np.ndarray:
        fresh = [t for t in dict.fromkeys(texts) if t not in known]
        if fresh:
            read = reader(fresh)
            known.update(zip(fresh, read.values[read.first], strict=True))
        return np.stack([known[t] for t in texts])

    return embed


def _medical(folder: Path, seed: int, most: int):
    """Class 0: queries that experts gave a risk of 1 to 3; shuffled 70/30 split."""
    frame = parquet_rows(folder / "medical_safety.parquet", None).drop_duplicates("text")
    labels = (frame["label"] != "medical").astype(int).to_numpy()
    return _split(frame["text"].tolist(), labels, seed, most)


def _ruarobot(folder: Path, seed: int, most: int):
    """Class 0: positive and ambiguous questions; the set's own split."""
    frame = parquet_rows(folder / "ruarobot.parquet", None).drop_duplicates("text")
    labels = (frame["label"] == "neg").astype(int).to_numpy()
    return _split(frame["text"].tolist(), labels, seed, most, own=(frame["split"] == "test").to_numpy())


def _split(texts, labels, seed: int, most: int, own=None):
    order = np.random.default_rng(seed).permutation(len(texts))
    test = own[order] if own is not None else np.arange(len(order)) >= 0.7 * len(order)
    train_rows, test_rows = order[~test][:most], order[test][: most // 2]
    return tuple(([texts[i] for i in rows], labels[rows]) for rows in (train_rows, test_rows))
