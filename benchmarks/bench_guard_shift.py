"""A guardrail on a source of prompts that it was not fitted on: the rate asked and the rate seen, AUROC beside rivals.

    CUTAWAY_DATA=... python benchmarks/bench_guard_shift.py [--short] [--json] [--model FOLDER] [--num N]

Four harmless sources (XSTest, Alpaca, R-U-A-Robot, Medical). Each in turn is left out of the fitting, with the harmful
prompts it is judged against: for XSTest its own harmful half, for the others StrongREJECT, HarmBench and
JailbreakBench.
The guardrail is fitted on all else. Then the threshold is set from 100 harmless rows of the new source and the rate is
seen on the others (XSTest: 150, else 500 or more), 20 draws. AUROC needs no threshold; beside it TF-IDF on the same
rows
and an untrained twin of the encoder. Aims: median rate in [.067, .15] where .1 was asked; AUROC above TF-IDF by .05.

Then few labels: the same split for XSTest and Alpaca, fitted on 10, 30 and 100 rows of either class, by features.
No text is printed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path

import numpy as np

from cutaway.data.parquet import parquet_rows
from cutaway.guard import Guardrail, PromptRows, calibrate, from_lists, read_rows
from cutaway.guard.baselines import _tf_idf
from cutaway.guard.evaluation import auroc, auroc_interval
from cutaway.guard.features import FeatureRows
from cutaway.network.packaged import ENCODER, is_installed
from cutaway.network.sources import LoadedModel, load_model
from cutaway.network.twin import untrained
from cutaway.reading.intervals import proportion_interval

ASKED, DRAWN, DRAWS = 0.1, 100, 20
HARMLESS = ("XSTest", "Alpaca", "R-U-A-Robot", "Medical")
LEFT_OUT = ("StrongREJECT", "HarmBench-test", "HarmBench-val", "JailbreakBench")
FEW = (10, 30, 100)


class Remembered:
    """Features of prompts, read once each."""

    def __init__(self, read) -> None:
        self.read, self.known = read, {}
        self.tokenizer, self.dimension = read.tokenizer, read.dimension

    def __call__(self, texts) -> FeatureRows:
        fresh = [t for t in dict.fromkeys(texts) if t not in self.known]
        if fresh:
            found = self.read(fresh)
            ends = np.cumsum(found.windows)
            told = zip(fresh, ends, found.windows, found.tokens, found.truncated, strict=True)
            for text, end, windows, tokens, truncated in told:
                self.known[text] = found.values[end - windows : end], tokens, truncated
        values, tokens, truncated = zip(*(self.known[t] for t in texts), strict=True)
        return FeatureRows(
            values=np.concatenate(values),
            windows=np.array([len(v) for v in values]),
            tokens=np.array(tokens),
            truncated=np.array(truncated),
        )


def all_rows(folder: Path, num: int, seed: int = 0) -> PromptRows:
    """Safety prompts, and at most `num` rows of each harmless source; every prompt once."""
    safety = read_rows(folder / "safety_prompts.parquet").deduplicated()
    texts, labels, sources = list(safety.texts), safety.labels.tolist(), list(safety.sources)
    rng = np.random.default_rng(seed)
    for name, file in (("Alpaca", "alpaca_instructions"), ("R-U-A-Robot", "ruarobot"), ("Medical", "medical_safety")):
        found = list(dict.fromkeys(parquet_rows(folder / f"{file}.parquet", ["text"])["text"]))
        drawn = [found[i] for i in rng.permutation(len(found))[:num]]
        texts, labels, sources = texts + drawn, labels + [0] * len(drawn), sources + [name] * len(drawn)
    return from_lists(texts, labels, sources, name="all sources").deduplicated()


def parted(rows: PromptRows, source: str) -> tuple[PromptRows, PromptRows]:
    """(rows to fit on, rows of the new source with the harmful ones they are judged against)."""
    against = ("XSTest",) if source == "XSTest" else LEFT_OUT
    sources, bad = np.array(rows.sources), rows.labels == 1
    test = ((sources == source) & ~bad) | (np.isin(sources, against) & bad)
    train = ~np.isin(sources, (source, *against))
    return rows.subset(np.flatnonzero(train)), rows.subset(np.flatnonzero(test))


def shift(rows: PromptRows, readers: dict[str, tuple[LoadedModel, Remembered]], source: str) -> dict:
    """One row of the table."""
    train, test = parted(rows, source)
    found: dict = {"source": source, "harmless": int((test.labels == 0).sum()), "harmful": int(test.labels.sum())}
    for name, (loaded, reader) in readers.items():
        guard = _guard(loaded, reader).fit(train)
        scores = guard.decision_function(test.texts)
        found[name] = [auroc(scores, test.labels), *auroc_interval(scores, test.labels)]
        if name == "guardrail":
            found |= rate_seen(scores[test.labels == 0], scores[test.labels == 1], guard.threshold_.logit)
    words, _ = _tf_idf(guard, train, test)
    found["tf-idf"] = [auroc(words, test.labels), *auroc_interval(words, test.labels)]
    return found


def rate_seen(harmless: np.ndarray, harmful: np.ndarray, fitted: float) -> dict:
    """Rates before and after a threshold from DRAWN harmless rows of the new source."""
    hits = int((harmless > fitted).sum())
    seen, caught = [], []
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(len(harmless))
        limit = calibrate(harmless[order[:DRAWN]], ASKED).logit
        seen.append(float((harmless[order[DRAWN:]] > limit).mean()))
        caught.append(float((harmful > limit).mean()))
    return {
        "rate_before": [hits / len(harmless), *proportion_interval(hits, len(harmless))],
        "rate_after": [float(np.median(seen)), min(seen), max(seen)],
        "others": len(harmless) - DRAWN,
        "flagged_of_harmful": float(np.median(caught)),
    }


def few_labels(rows: PromptRows, loaded: LoadedModel, readers: dict[str, Remembered], seeds: int) -> list[dict]:
    """AUROC from 10, 30, 100 rows of either class: mean and spread over draws, by features and by words."""
    found = []
    for source in ("XSTest", "Alpaca"):
        train, test = parted(rows, source)
        for count in FEW:
            scores: dict[str, list[float]] = {}
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                drawn = [rng.permutation(np.flatnonzero(train.labels == label))[:count] for label in (0, 1)]
                part = train.subset(np.concatenate(drawn))
                for kind, reader in readers.items():
                    guard = _guard(loaded, reader, kind, rate=0.5).fit(part)
                    scores.setdefault(kind, []).append(auroc(guard.decision_function(test.texts), test.labels))
                words, _ = _tf_idf(guard, part, test)
                scores.setdefault("tf-idf", []).append(auroc(words, test.labels))
            told = {k: [float(np.mean(v)), float(np.std(v))] for k, v in scores.items()}
            found.append({"source": source, "rows": count, "auroc": told})
    return found


def _guard(loaded: LoadedModel, reader: Remembered, kind: str | None = None, *, rate: float = ASKED) -> Guardrail:
    guard = Guardrail(loaded, features=kind, rate=rate, batch_size=64, max_length=128)
    guard._reader = reader
    return guard


def _reader(loaded: LoadedModel, kind: str | None = None) -> Remembered:
    return Remembered(Guardrail(loaded, features=kind, batch_size=64, max_length=128)._features())


def main(arguments: list[str] | None = None) -> dict:
    """Run and print the tables; returns them. What misses its aim is published as it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="200 rows a source, R-U-A-Robot alone, no few labels")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--model", default=None, help=f"a folder; by default {ENCODER}, else the small model")
    parser.add_argument("--num", type=int, default=800, help="rows of each harmless source at most")
    parser.add_argument("--seeds", type=int, default=5, help="draws of few labels")
    options = parser.parse_args(arguments)
    data = Path(os.environ.get("CUTAWAY_DATA", ""))
    if not (data / "text" / "safety_prompts.parquet").is_file():
        print("not run: CUTAWAY_DATA does not name a folder with text", file=sys.stderr)
        sys.exit(2)
    say = sys.stderr if options.json else sys.stdout
    model = options.model or (ENCODER if is_installed(ENCODER) and not options.short else str(data / "stories260k"))
    rows = all_rows(data / "text", 200 if options.short else options.num)
    loaded = load_model(model)
    twin = dataclasses.replace(loaded, model=untrained(loaded.model, 0)[0])
    readers = {"guardrail": (loaded, _reader(loaded)), "untrained twin": (twin, _reader(twin))}
    found: dict = {"model": loaded.name, "rows": len(rows), "asked": ASKED, "shift": [], "few": []}
    print(f"{loaded.name}, {len(rows)} rows; asked: {ASKED:g}", file=say)
    for source in HARMLESS[2:3] if options.short else HARMLESS:
        row = shift(rows, readers, source)
        found["shift"].append(row)
        print(shift_line(row), file=say, flush=True)
    if not options.short:
        kinds = {kind: _reader(loaded, kind) for kind in ("hidden", "geometry", "both")}
        own = {"sentence": readers["guardrail"][1]} if loaded.sentence is not None else {}
        found["few"] = few_labels(rows, loaded, own | kinds, options.seeds)
        for row in found["few"]:
            words = "  ".join(f"{k} {m:.3f} +- {s:.3f}" for k, (m, s) in row["auroc"].items())
            print(f"{row['source']}, {row['rows']} rows a class: {words}", file=say)
    if options.json:
        print(json.dumps(found))
    return found


def shift_line(row: dict) -> str:
    """A line of the table, in Markdown."""
    cells = [row["source"], _spread(row["rate_before"]), _spread(row["rate_after"]) + f" on {row['others']}"]
    cells += [f"{row['flagged_of_harmful']:.3f} of {row['harmful']}"]
    cells += [_spread(row[name]) for name in ("guardrail", "tf-idf", "untrained twin")]
    return "| " + " | ".join(cells) + " |"


def _spread(value: list[float]) -> str:
    return "{:.3f} ({:.3f} to {:.3f})".format(*value)


if __name__ == "__main__":
    main()
