"""`cutaway audit uncertainty`: does an ensemble, or a network with dropout, know when it is attacked."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cutaway.cli.audit._run import UNKNOWN, audit_network
from cutaway.cli.command import Outcome, new_app
from cutaway.cli.options import Several
from cutaway.cli.subject import Engine, Subject

if TYPE_CHECKING:
    from cutaway.data import Dataset
    from cutaway.network import Network

app = new_app("audit uncertainty")


@app.default
def uncertainty(
    subject: Subject = Subject(),
    *more: str,
    members: Annotated[list[str] | None, Several] = None,
    radius: float | None = None,
    set: Annotated[list[str] | None, Parameter(name="--set")] = None,
    out: Path | None = None,
    engine: Engine = Engine(),
) -> Outcome:
    """Attack the mean of the probabilities, once for an error and once for one that looks sure.

    The verdict is attack-failed where a weaker attack breaks more, blind where it is surer of attacked rows than of
    others, detects where an attacked row is the more uncertain one beyond chance, chance where neither can be told.

    Parameters
    ----------
    more
        Further settings, as after `--set`: `--set a=1 b=2`.
    members
        Checkpoints (.safetensors) of the ensemble's other members, for the same MODEL; without them MODEL has dropout
        or is an ensemble itself.
    radius
        Radius of the ball round an input, in the data's units.
    set
        Settings of the instrument as `key=value`; may be given several times.
    out
        Run folder; by default `runs/NAME` in the current folder.
    """
    from cutaway.cli.measure import told_settings
    from cutaway.instruments.robustness.uncertainty_under_attack import UncertaintyUnderAttack

    subject, settings = told_settings(UncertaintyUnderAttack, subject, set, more)
    network, data = subject.open()
    if members:
        network = _together(subject, network, data, members)
    instrument = dataclasses.replace(UncertaintyUnderAttack.suited(data), **settings)
    if radius is not None:
        instrument = dataclasses.replace(instrument, radius=radius)
    instrument.check(network, data)
    return audit_network(instrument, network, data, subject, engine, out=out, nulls=0, verdict=_verdict)


def _together(subject: Subject, network: Network, data: Dataset, members: list[str]) -> Network:
    """The network and its likes with other weights, as one."""
    from cutaway.outputs.posterior import Ensemble

    subject = dataclasses.replace(subject, model=subject.model or "cutaway.demo:digits_cnn")
    assert subject.model is not None
    others = []
    for weights in members:
        others.append(dataclasses.replace(subject, weights=weights).loaded(device=subject.device).model)
    modules = [network.model, *(m.to(network.device, network.dtype) for m in others)]
    return subject.network(Ensemble(modules).eval(), data, f"{len(modules)} x {network.name}")


def _verdict(reading) -> str:
    lead, found = reading.figure("lead_over_weaker"), reading.figure("aware_detection")
    if reading.figure("clean_accuracy").value == 0:
        return UNKNOWN  # nothing was right, so that nothing could be broken
    if lead.high is not None and lead.high < 0:
        return "attack-failed"
    if found.high is not None and found.high < 0.5:
        return "blind"
    return "detects" if found.low is not None and found.low > 0.5 else "chance"
