"""Fuzzing of the ONNX importer: random models beside onnxruntime.

    python benchmarks/fuzz_import.py [--minutes 5] [--models N] [--seed 0] [--first 0] [--json]

Model k of a seed is always the same (`random_onnx`). Of each that onnxruntime runs, four rows given together, and each
row in float64, must give what onnxruntime gives row by row, to 1e-5 of its largest value; where rounding has grown
beyond that, every node alone must. Every fifth is also turned into the graph that bounds are computed on, which must
give what the import gives (`network.graph.trace` compares them at 16 points). Else the model is refused as an
unsupported operator, by name (or as a constant). All else is broken: printed with the command that repeats it, exit
code 1.
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import torch
from random_onnx import DRAWS, Unfit, random_model
from torch import Tensor

from cutaway.errors import ModelError, UnsupportedOperator
from cutaway.network.graph import trace
from cutaway.network.onnx import load_onnx
from cutaway.network.onnx.agreement import close, refuse_difference
from cutaway.network.onnx.runtime import Runtime, open_runtime

LOWEST = -1e30  # below it lies what onnxruntime takes for the maximum of nothing


@dataclass(slots=True)
class Tally:
    """`models`: those that onnxruntime runs; `rounding`: of these, agreeing node by node only; by operator: how many
    agreed, and how many were refused."""

    models: int = 0
    rounding: int = 0
    not_run: int = 0
    agreed: collections.Counter = field(default_factory=collections.Counter)
    refused: collections.Counter = field(default_factory=collections.Counter)
    broken: list[str] = field(default_factory=list)


def judge(path: Path, names: list[str], tally: Tally, graphed: bool = False) -> str:
    """ "" for a model that agrees, is refused by name or that onnxruntime does not run; else what is wrong."""
    try:
        runtime = open_runtime(path)
        assert runtime is not None and runtime.name == "onnxruntime"
        rows = points(runtime)
        theirs = [runtime.output(row) for row in rows]
    except Exception:  # whatever onnxruntime has against it: it is no model then
        tally.not_run += 1
        return ""
    tally.models += 1
    try:
        if graphed:
            model = load_onnx(path, dtype=torch.float64, check=False)
            trace(model, model.example(), batched=model.batched)
        exact = not all(agrees(path, runtime, rows, theirs, dtype) for dtype in (None, torch.float64))
    except UnsupportedOperator as error:
        if names == ["MaxPool"] and "padding alone" in str(error) and all(bool((t > LOWEST).all()) for t in theirs):
            return f"{error} onnxruntime has numbers in every window"
        tally.refused[str(error).split(" at node")[0]] += 1
        return ""
    except Exception as error:
        if isinstance(error, ModelError) and "does not depend on the input" in str(error):
            tally.refused["a constant output"] += 1
            return ""
        return f"{type(error).__name__}: {error}"
    tally.rounding += exact
    tally.agreed.update(names)
    return ""


def points(runtime: Runtime) -> Tensor:
    """Two rows of random numbers, and two that grow in one direction, so that the largest number of every window is its
    last or its first."""
    generator = torch.Generator().manual_seed(0)
    random = torch.randn((2, *runtime.shape), generator=generator)
    growing = torch.linspace(-1, 2.5, random[0].numel()).reshape(runtime.shape)
    return torch.cat([random, growing[None], growing.flatten().flip(0).reshape(1, *runtime.shape)])


def agrees(path: Path, runtime: Runtime, rows: Tensor, theirs: list[Tensor], dtype: torch.dtype | None) -> bool:
    """Whether all rows agree as they are; raises where a node differs."""
    model = load_onnx(path, dtype=dtype, check=False)
    rows = rows.to(model.input_dtype)
    with torch.no_grad():
        ours = model(rows.flatten(0, 1)) if model.batched else torch.stack([model(row) for row in rows])
    same = len(ours) == len(rows) and all(close(a.double().flatten(), b) for a, b in zip(ours, theirs))
    if not same:
        single = load_onnx(path, check=False)
        for row in rows.float():
            refuse_difference(path, single, row[0] if model.batched else row)
        with torch.no_grad():
            alone = torch.stack([model(row).double().flatten() for row in rows])
        if not close(ours.double().flatten(), alone.flatten()):
            raise AssertionError(f"rows together give another thing than alone ({tuple(ours.shape)})")
    return same


def fuzz(seed: int, first: int, models: int | None, seconds: float, progress=lambda text: None) -> Tally:
    """Models first, first + 1, ... until their number or the time is reached."""
    tally, begin, told, number = Tally(), time.monotonic(), time.monotonic(), first
    wanted = sorted(DRAWS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        while (models is None or number - first < models) and time.monotonic() - begin < seconds:
            rng = np.random.default_rng([seed, number])
            try:
                model, names = random_model(rng, wanted[number % len(wanted)])
            except Unfit:
                names = []
            if names:
                onnx.save(model, path)
                wrong = judge(path, names, tally, number % 5 == 0)
                if wrong:
                    again = f"python benchmarks/fuzz_import.py --seed {seed} --first {number} --models 1"
                    tally.broken.append(f"{'+'.join(names)}: {wrong}; {again}".replace(str(path), "the model"))
                    print("BROKEN", tally.broken[-1], file=sys.stderr, flush=True)
            number += 1
            if time.monotonic() - told > 30:
                told = time.monotonic()
                progress(f"{tally.models} models, {len(tally.broken)} broken")
    return tally


def main(arguments: list[str] | None = None) -> int:
    """Fuzz and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first model")
    parser.add_argument("--models", type=int, default=None, help="at most this many are drawn")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    begin = time.process_time()
    told = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
    tally = fuzz(options.seed, options.first, options.models, 60 * options.minutes, told)
    if options.json:
        print(json.dumps({k: getattr(tally, k) for k in Tally.__slots__}))  # type: ignore[attr-defined]
    else:
        print(
            f"{tally.models} models in {time.process_time() - begin:.0f} CPU seconds, {len(tally.broken)} broken, "
            f"{sum(tally.refused.values())} refused by name, {tally.rounding} agree node by node only, "
            f"{tally.not_run} more that onnxruntime does not run"
        )
        for name in ("agreed", "refused"):
            print(f"{name}: " + ", ".join(f"{k} {v}" for k, v in sorted(getattr(tally, name).items())))
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
