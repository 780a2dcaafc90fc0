"""`cutaway theory phase TARGET`: the phase boundary of batch size against time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.options import check_picture
from cutaway.cli.theory._series import PICTURES, save, series_of, theory_payload
from cutaway.errors import InputError

app = new_app("theory phase")


@app.default
def phase(target: str | None = None, *, exponent: int | None = None, out: Path | None = None) -> Outcome:
    """Phase boundary of batch size against time for an information exponent.

    Parameters
    ----------
    target
        Expression whose information exponent is taken.
    exponent
        The information exponent itself.
    out
        File (.png, .pdf, .svg) for the picture.
    """
    from cutaway.dynamics.exponents import information_exponent
    from cutaway.dynamics.phase import phase_boundary

    check_picture("--out", out, PICTURES)
    if (target is None) == (exponent is None):
        raise InputError(
            "command theory phase",
            found="both or neither",
            expected="a target or --exponent",
            remedy="give one of the two",
        )
    value, told = exponent, ""
    if target is not None:
        found = information_exponent(target)
        if found.value is None:
            raise InputError(
                f"target {target!r}",
                found=found.words,
                expected="a significant information exponent",
                remedy="give the exponent itself with --exponent",
            )
        value, told = found.value, "" if found.exact else f" ({found.words})"
    assert value is not None
    lines = {loss: phase_boundary(value, loss=loss) for loss in ("square", "correlation")}
    series = {name: series_of(line.batch_exponents, line.time_exponents) for name, line in lines.items()}
    if out is not None:
        from cutaway.dynamics.pictures import phase_figure

        save(phase_figure(value), out)
    words = f"information exponent {value}{told}: batches of d^mu, steps of d^theta\n" + "\n".join(
        f"  mu = {mu:.1f}: square loss {_at(lines['square'], mu):.2f}, correlation {_at(lines['correlation'], mu):.2f}"
        for mu in (0.0, value / 2, value - 1.0, float(value))
    )
    return Outcome(payload=theory_payload(series, exponent=value), words=words)


def _at(line: Any, mu: float) -> float:
    import numpy as np

    return float(np.interp(mu, line.batch_exponents, line.time_exponents))
