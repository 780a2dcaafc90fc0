"""`cutaway certify`: a property of a network, a list of such instances, or certified accuracy on a data set."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.subject import Engine, ExactSubject
from cutaway.errors import InputError

if TYPE_CHECKING:
    from cutaway.engines.base import Executor

SAMPLES = 100
"""Samples of a data set, where the user names no number."""

app = new_app("certify")


@app.default
def certify(
    subject: ExactSubject = ExactSubject(),
    spec: Path | None = None,
    *,
    instances: Path | None = None,
    out: Path | None = None,
    timeout: float = 60.0,
    radius: float | None = None,
    norm: str = "inf",
    complete: bool | None = None,
    deployment: bool = False,
    plot: Path | None = None,
    engine: Engine = Engine(),
) -> Outcome:
    """Prove or refute a property, with a witness.

    Three forms: MODEL SPEC.vnnlib; --instances LIST.csv --out RESULTS.csv; MODEL --data NAME --radius R, which takes
    100 rows where --num is not given. Without --budget, 2GB above the network. Computes in float64 on the
    processor, whatever the network's type.

    Parameters
    ----------
    spec
        A VNN-LIB property, 1.0 or 2.0, plain or .gz.
    instances
        A csv list of onnx,vnnlib[,timeout], paths relative to it. Rows that fail end no list; with some the exit code
        is 1.
    out
        Where the results go: a csv for --instances (a run that was cut off goes on where it stood), else the answer as
        JSON.
    timeout
        Seconds for an instance, start-up included (for --data: for a sample, with --complete).
    radius
        Radius of the ball round an input, in the data's units.
    norm
        inf, 2 or 1.
    complete
        Branch and bound after bounds; by default yes for properties and no for --data.
    deployment
        The certificate must also hold for float32 arithmetic.
    plot
        Picture of the shares certified, unknown and broken by an attack against the radius (--data; .png or .svg).
    """
    from cutaway.cli.options import check_picture

    subject.check()
    if not timeout > 0:
        remedy = "give a positive number, for example --timeout 60"
        raise InputError("option --timeout", found=f"{timeout:g}", expected="more than 0 seconds", remedy=remedy)
    settings: dict = {"timeout": timeout, "seed": subject.seed, "deployment": deployment}
    if subject.room is not None:
        settings["budget"] = subject.room
    rows = {name: getattr(subject, name) for name in ("data", "groups", "labels2", "num")}
    rows |= {"radius": radius, "plot": plot}
    if instances is not None:
        _unread("--instances", model=subject.model, spec=spec, weights=subject.weights, **rows)
        return _instances(instances, out, settings | {"complete": complete is not False}, engine.executor())
    if engine != Engine():
        raise InputError(
            "option --engine",
            found="no list",
            expected="--instances LIST.csv, whose rows run on the engine",
            remedy="add --instances, or leave --engine out",
        )
    if subject.model is None:
        raise InputError(
            "cutaway certify",
            found="no network",
            expected="MODEL SPEC.vnnlib, --instances or --data",
            remedy="give one of these",
        )
    if spec is not None:
        _unread("a property", **rows)
        options = settings | {"complete": complete is not False}
        return _kept(_property(subject.model, spec, options, subject.loading), out)
    if complete and norm != "inf":
        raise InputError(
            "option --complete",
            found=f"--norm {norm}",
            expected="--norm inf",
            remedy="branch and bound cuts boxes only",
        )
    if subject.data is None or radius is None:
        raise InputError(
            "cutaway certify",
            found="a model alone",
            expected="a SPEC.vnnlib, or --data and --radius",
            remedy="add a property, or data and a radius",
        )
    check_picture("--plot", plot, (".png", ".svg", ".pdf"))
    return _kept(_accuracy(subject, radius, norm, settings | {"complete": complete is True}, plot), out)


def _unread(form: str, **options: object) -> None:
    """Options that a form does not read are refused, not ignored."""
    for name, value in options.items():
        if value is not None:
            raise InputError(
                f"option --{name}",
                found=f"it beside {form}",
                expected="one or the other",
                remedy="leave one of the two out; see `cutaway certify --help`",
            )


def _kept(outcome: Outcome, out: Path | None) -> Outcome:
    """The answer, also written to `out` as JSON where that is asked for."""
    if out is None:
        return outcome
    import json
    from dataclasses import replace

    from cutaway.files import write_text
    from cutaway.jsonable import clean

    write_text(out, json.dumps(clean(outcome.payload), indent=1, allow_nan=False) + "\n")
    return replace(outcome, payload=outcome.payload | {"out": str(out)}, words=f"{outcome.words}\nresult: {out}")


def _settings(options: dict):
    import torch

    from cutaway.robustness.verify.verdict import VerifySettings

    options = options | {"deployment": torch.float32 if options["deployment"] else None}
    return VerifySettings(**options)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _property(model: str, spec: Path, options: dict, loading: dict) -> Outcome:
    """Computed by a child process, which ends with the time limit whatever it is doing."""
    from cutaway import __version__, cli
    from cutaway.engines.watched import Overdue, Watched
    from cutaway.status import Status

    begin = cli.called
    with Watched() as child:
        try:
            question = (model, spec, options, loading, _memory(options))
            return child.call(
                f"{__name__}:decide_property", *question, deadline=begin + options["timeout"], progress=_tell
            )
        except Overdue as over:
            seconds, reason = time.monotonic() - begin, f"time limit; last: {over.last}"
    nothing = dict.fromkeys(("witness", "output", "bound", "model_hash", "property_hash", "import_check"))
    told = {"seconds": seconds, "decided_by": "nothing", "parts": 0, "reason": reason, "version": __version__}
    words = f"unknown by nothing in {seconds:.2f} s: {Status.UNKNOWN.remedy}.\n{reason}"
    return Outcome(payload={"verdict": Status.UNKNOWN.value} | nothing | told, words=words)


def _memory(options: dict) -> int:
    """Bytes above the network at which allocations fail: the budget that was given, else what is free."""
    from cutaway.engines.budget import default_budget

    return options["budget"] if "budget" in options else max(2_000_000_000, default_budget())


def decide_property(
    model: str, spec: Path, options: dict, loading: dict, memory: int, *, deadline: float, progress: Callable
) -> Outcome:
    """The verdict on a property, with its words; runs in a child process."""
    from cutaway import __version__
    from cutaway.cli.command import quiet
    from cutaway.engines.budget import limit_memory
    from cutaway.robustness.verify.import_check import CHECK
    from cutaway.robustness.verify.onnx_query import verify_vnnlib
    from cutaway.status import Status

    options = options | {"timeout": max(deadline - time.monotonic(), 1e-3)}
    with quiet(False):
        verdict, model_hash = verify_vnnlib(
            model, spec, _settings(options), progress, opened=lambda: limit_memory(memory), **loading
        )
    witness = None if verdict.witness is None else verdict.witness.tolist()
    output = None if verdict.output is None else verdict.output.tolist()
    payload = {
        "verdict": verdict.status.value,
        "witness": witness,
        "output": output,
        "bound": verdict.bound,
        "seconds": verdict.seconds,
        "model_hash": model_hash,
        "property_hash": verdict.property_hash,
        "decided_by": verdict.decided_by,
        "parts": verdict.parts,
        "reason": verdict.reason,
        "version": __version__,
        "import_check": CHECK,
    }
    words = f"{verdict.status.value} by {verdict.decided_by} in {verdict.seconds:.2f} s: {verdict.status.remedy}."
    if witness is not None:
        judge = "onnxruntime" if model.endswith((".onnx", ".onnx.gz")) else "the model itself"
        words += f"\nwitness (replayed by {judge}): {_short(witness)}\noutput there: {_short(output)}"
    if verdict.status is Status.CERTIFIED:
        words += f"\nproved margin {verdict.bound:.6g}: some row of every clause stays above its limit by at least this"
    if verdict.status is Status.FALSIFIED and verdict.reason:
        words += f"\n{verdict.reason}"
    elif verdict.reason:
        words += f"\n{verdict.reason}; remaining bound {verdict.bound:.6g}"
    return Outcome(payload=payload, words=words + f"\nnetwork {model_hash[:12]}, property {verdict.property_hash[:12]}")


def _short(values: list[float] | None) -> str:
    shown = [f"{v:.9g}" for v in (values or [])[:12]]
    return "[" + ", ".join(shown) + (f", ... {len(values or [])} numbers]" if len(values or []) > 12 else "]")


def _instances(instances: Path, out: Path | None, options: dict, executor: Executor) -> Outcome:
    from cutaway.robustness.verify.instances import run_instances
    from cutaway.status import Status

    if out is None:
        raise InputError(
            "cutaway certify --instances",
            found="no --out",
            expected="--out RESULTS.csv",
            remedy="add --out RESULTS.csv",
        )
    memory = _memory(options)
    with executor:
        counts = run_instances(
            instances, out, _settings(options), progress=_tell, executor=executor, watched=True, memory_limit=memory
        )
    words = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    code = 1 if counts.get(Status.FAILED) else 0
    return Outcome(payload={"counts": counts, "out": str(out)}, words=f"{words}\nresults: {out}", code=code)


def _accuracy(subject: ExactSubject, radius: float, norm: str, options: dict, plot: Path | None) -> Outcome:
    from cutaway.robustness.certified_share import certified_accuracy, radius_curve
    from cutaway.scan_words import told_of_weights

    assert subject.model is not None
    loaded = subject.loaded()
    dataset = subject.rows()
    if subject.num is None and len(dataset) > SAMPLES:
        dataset = dataset.take(SAMPLES, subject.seed)
    settings = _settings(options)
    result = certified_accuracy(loaded.model, dataset, radius=radius, norm=norm, settings=settings, progress=_tell)
    payload = result.summary()
    words = "\n".join(filter(None, (told_of_weights(loaded.model), result.words())))
    if plot is not None:
        from cutaway.robustness.curve_figure import draw_curve

        curve = radius_curve(loaded.model, dataset, radius=radius, norm=norm, settings=settings, progress=_tell)
        draw_curve(curve, plot, norm=norm, units=dataset.units)
        payload["curve"], payload["plot"] = curve, str(plot)
        words += f"\npicture: {plot}"
    return Outcome(payload=payload, words=words)
