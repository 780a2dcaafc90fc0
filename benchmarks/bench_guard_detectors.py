"""Detectors by source and under shift, three seeds; AUROC against latency by number of blocks.

    CUTAWAY_DATA=... python benchmarks/bench_guard_detectors.py [--short] [--json] [--num N] [--out FOLDER]
                                                                [--only SETTING ...]

Seven settings: safety prompts against harmless instructions (another domain: easy to confound with topic), the same
detectors judged within XSTest alone (both classes from one source), trained on AdvBench against instructions and
tested on XSTest (shifted), trained on tweets (hate or offensive against neither) and tested on safety prompts
(shifted), the same tested on XSTest, safety prompts without XSTest against instructions tested on tweets, and XSTest
tested on AdvBench and instructions. No text is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from cutaway.guard import Guardrail, PromptRows, read_rows
from cutaway.guard.baselines import DETECTORS, compare
from cutaway.guard.evaluation import auroc


def main(arguments: list[str] | None = None) -> dict:
    """Run and print the tables; returns them. No limit is stated here: what comes out is published as it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="60 rows of each class, one seed")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--num", type=int, default=800, help="rows of each class at most")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--only", nargs="*", choices=list(SETTINGS), default=list(SETTINGS), metavar="SETTING")
    options = parser.parse_args(arguments)
    if options.short:
        options.num, options.seeds = 60, 1
    say = sys.stderr if options.json else sys.stdout
    data = Path(os.environ.get("CUTAWAY_DATA", ""))
    if not (data / "text" / "safety_prompts.parquet").is_file():
        print("not run: CUTAWAY_DATA does not name a folder with text", file=sys.stderr)
        sys.exit(2)
    model = str(data / "stories260k")
    found: dict = {"num": options.num, "seeds": options.seeds, "settings": {}}
    for name in options.only:
        make = SETTINGS[name]
        scores: dict[str, list[float]] = {d: [] for d in DETECTORS}
        for seed in range(options.seeds):
            for key, value in one(model, *make(data / "text", options.num, seed), seed).items():
                scores[key].append(value)
        found["settings"][name] = {k: [statistics.mean(v), statistics.pstdev(v)] for k, v in scores.items()}
        print(name, file=say)
        for key, (mean, spread) in found["settings"][name].items():
            print(f"  {key:<16}{mean:.3f} +- {spread:.3f}", flush=True, file=say)
    if "mixed domains" not in options.only:
        return _told(found, options)
    found["layers"] = layers(model, *SETTINGS["mixed domains"](data / "text", min(options.num, 600), 0))
    for row in found["layers"]:
        print(
            f"  {row['layers']} blocks: {row['milliseconds']:.1f} ms CPU a prompt, AUROC {row['auroc']:.3f}", file=say
        )
    return _told(found, options)


def _told(found: dict, options: argparse.Namespace) -> dict:
    if options.json:
        print(json.dumps(found))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "detectors.json").write_text(json.dumps(found, indent=1))
        from cutaway.language.charts import layers_curve

        if not (rows := found.get("layers")):
            return found
        chart = layers_curve(
            [r["layers"] for r in rows], [r["milliseconds"] / 1000 for r in rows], [r["auroc"] for r in rows]
        )
        chart.save(str(options.out / "layers.svg"))
    return found


def one(model: str, train: PromptRows, test: PromptRows, only: str | None, seed: int) -> dict[str, float]:
    """AUROC of every detector, on one source of the test rows if `only` is given."""
    found = compare(Guardrail(model, rate=0.1, seed=seed, batch_size=64, max_length=96), train, test, seed=seed)
    keep = np.array([only in (None, s) for s in found.rows.sources])
    return {name: auroc(scores[keep], found.rows.labels[keep]) for name, scores in found.scores.items()}


def layers(model: str, train: PromptRows, test: PromptRows, _only: str | None) -> list[dict]:
    """AUROC and CPU milliseconds of one prompt for the first 1, 2, ... blocks."""
    rows = []
    prompt = "Write a short story about a little girl and her dog in the park."
    for count in range(1, 6):
        guard = Guardrail(model, features="geometry", layers=count, rate=0.1, batch_size=64, max_length=96).fit(train)
        seen = set(guard.seen_)
        held = test.deduplicated().without(seen, "in the fitting data")
        guard.decision_function([prompt])
        began = time.process_time()
        for _ in range(20):
            guard.decision_function([prompt])
        spent = (time.process_time() - began) / 20
        score = auroc(guard.decision_function(held.texts), held.labels)
        rows.append({"layers": count, "milliseconds": 1000 * spent, "auroc": score})
    return rows


def _joined(*parts: PromptRows) -> PromptRows:
    return PromptRows(
        name=" and ".join(dict.fromkeys(p.name for p in parts)), texts=tuple(t for p in parts for t in p.texts),
        labels=np.concatenate([p.labels for p in parts]), sources=tuple(s for p in parts for s in p.sources),
    )  # fmt: skip


def _some(rows: PromptRows, num: int, seed: int) -> PromptRows:
    rows = rows.deduplicated()
    return rows.subset(np.random.default_rng(seed).permutation(len(rows))[:num])


def _safety(folder: Path) -> PromptRows:
    return read_rows(folder / "safety_prompts.parquet").deduplicated()


def _harmless(folder: Path, num: int, seed: int) -> PromptRows:
    rows = read_rows(folder / "alpaca_instructions.parquet", positive=["harmless"])
    return _some(
        PromptRows(name="instructions", texts=rows.texts, labels=0 * rows.labels, sources=rows.sources), num, seed
    )


def _of(rows: PromptRows, *sources: str) -> PromptRows:
    return rows.subset([i for i, s in enumerate(rows.sources) if s in sources])


def _halves(rows: PromptRows, seed: int, only: str | None):
    order = np.random.default_rng(seed + 77).permutation(len(rows))
    cut = int(0.7 * len(rows))
    return rows.subset(order[:cut]), rows.subset(order[cut:]), only


def mixed(folder: Path, num: int, seed: int):
    """Held-out rows of safety prompts and instructions."""
    return _halves(_joined(_some(_safety(folder), num, seed), _harmless(folder, num, seed)), seed, None)


def within(folder: Path, num: int, seed: int):
    """The same training rows, judged within XSTest."""
    return _halves(_joined(_some(_safety(folder), num, seed), _harmless(folder, num, seed)), seed, "XSTest")


def shifted(folder: Path, num: int, seed: int):
    """Trained on AdvBench and instructions, tested on XSTest."""
    safety = _safety(folder)
    return (
        _joined(_of(safety, "AdvBench"), _harmless(folder, num, seed)),
        _some(_of(safety, "XSTest"), 2 * num, seed),
        None,
    )


def tweets(folder: Path, num: int, seed: int):
    """Trained on tweets, tested on safety prompts."""
    rows = read_rows(folder / "davidson_hate_offensive.parquet", positive=["hate", "offensive"])
    bad = _some(rows.subset(np.flatnonzero(rows.labels == 1)), num, seed)
    good = _some(rows.subset(np.flatnonzero(rows.labels == 0)), num, seed)
    return _joined(bad, good), _some(_safety(folder), 2 * num, seed), None


def tweets_to_xstest(folder: Path, num: int, seed: int):
    """Trained on tweets, tested on XSTest."""
    return tweets(folder, num, seed)[0], _some(_of(_safety(folder), "XSTest"), 2 * num, seed), None


def safety_to_tweets(folder: Path, num: int, seed: int):
    """Trained on safety prompts (without XSTest) against instructions, tested on tweets."""
    safety = _safety(folder)
    others = safety.subset([i for i, s in enumerate(safety.sources) if s != "XSTest"])
    return _joined(_some(others, num, seed), _harmless(folder, num, seed)), tweets(folder, num, seed)[0], None


def xstest_to_advbench(folder: Path, num: int, seed: int):
    """Trained on XSTest, tested on AdvBench and instructions."""
    safety = _safety(folder)
    test = _joined(_some(_of(safety, "AdvBench"), num, seed), _harmless(folder, num, seed))
    return _some(_of(safety, "XSTest"), 2 * num, seed), test, None


SETTINGS = {
    "mixed domains": mixed, "within XSTest": within, "AdvBench to XSTest": shifted, "tweets to safety prompts": tweets,
    "tweets to XSTest": tweets_to_xstest, "safety prompts to tweets": safety_to_tweets,
    "XSTest to AdvBench": xstest_to_advbench,
}  # fmt: skip

if __name__ == "__main__":
    main()
