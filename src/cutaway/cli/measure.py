"""`cutaway measure NAME MODEL`: one instrument on one network, without nulls unless asked."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.subject import Engine, Subject
from cutaway.errors import InputError, did_you_mean

app = new_app("measure")


@app.default
def measure(
    name: str,
    subject: Subject = Subject(),
    *more: str,
    set: Annotated[list[str] | None, Parameter(name="--set")] = None,
    nulls: int = 0,
    out: Path | None = None,
    plot: Path | None = None,
    engine: Engine = Engine(),
) -> Outcome:
    """One instrument on one network.

    Without MODEL, on the small network trained on scikit-learn's digits.

    Parameters
    ----------
    name
        An instrument, see `cutaway instruments`.
    more
        Further settings, as after `--set`: `--set a=1 b=2`.
    set
        Settings of the instrument as `key=value`; may be given several times.
    nulls
        How many null networks, at most; 0 for none.
    out
        File for the reading (.zarr.zip; .nc and .parquet export); by default NAME.zarr.zip here.
    plot
        File for the picture (.png, .svg, .html).
    """
    import dataclasses

    from cutaway import registry
    from cutaway.cli.options import check_picture
    from cutaway.cli.scan import figure_row
    from cutaway.evidence.null import NULLS, replicates
    from cutaway.reading import store
    from cutaway.scan_words import cautions

    kind = registry.instrument(name)
    if nulls < 0:
        raise InputError(
            "option --nulls", found=str(nulls), expected="0 or more", remedy="give a whole number of at least 0"
        )
    check_picture("--plot", plot, (".png", ".svg", ".pdf", ".html", ".json"))
    subject, settings = told_settings(kind, subject, set, more)
    network, dataset = subject.open(random=kind.takes_random, exact=kind.exact_texts)
    instrument = dataclasses.replace(kind.suited(dataset), **settings)
    limit = subject.room
    with engine.at_work(nulls if instrument.null else 0) as executor:
        reading = instrument.measure(network, dataset, seed=subject.seed, budget=limit)
        if nulls and reading.figures and instrument.null:
            draws = replicates(
                instrument,
                network,
                dataset,
                NULLS[instrument.null],
                count=nulls,
                seed=subject.seed,
                budget=limit,
                executor=executor,
            )
            reading = reading.against(draws, null=instrument.null)
    target = out or Path(f"{name}{store.SUFFIX}")
    if target.suffix == ".nc":
        store.to_netcdf(reading, target)
    elif target.suffix == ".parquet":
        store.to_parquet(reading, target)
    else:
        target = reading.save(target)
    if plot is not None:
        reading.plot(plot)
    rows = [figure_row(reading, figure) for figure in reading.figures]
    payload = {"readings": rows, "file": str(target), "status": reading.status.value, "reason": reading.reason}
    payload["samples"] = reading.coverage.samples
    words = "\n".join([*cautions(network, dataset, trained_anew=instrument.trains_anew), reading.summary()])
    if 0 < reading.coverage.samples < len(dataset.inputs):
        words += f"\n  read {reading.coverage.samples} of {len(dataset.inputs)} rows" + _how_to_read_all(
            instrument, len(dataset.inputs)
        )
    words += f"\nfile: {target}"
    if plot is not None:
        payload["plot"] = str(plot)
        words += f"\nfile: {plot}"
    return Outcome(payload=payload, words=words)


def _how_to_read_all(instrument, rows: int) -> str:
    """Only where the setting is what keeps rows out: some instruments learn from a part of theirs."""
    return " (--set num_points=N for more)" if getattr(instrument, "num_points", rows) < rows else ""


def told_settings(kind, subject: Subject, set: list[str] | None, more: tuple[str, ...]) -> tuple[Subject, dict]:
    """The subject, and the settings of `--set a=1 b=2`, of which the words after the first stand where a model may."""
    import dataclasses

    word = subject.model or ""
    key, sign, _ = word.partition("=")
    if sign and key.replace("-", "_").isidentifier() and not Path(word).exists():
        subject, more = dataclasses.replace(subject, model=None), (word, *more)
    return subject, settings_of(kind, [*(set or []), *more])


def settings_of(kind, pairs: list[str]) -> dict[str, Any]:
    """Settings of an instrument from `key=value`; raises InputError for a key that it has not."""
    import dataclasses

    fields = [f.name for f in dataclasses.fields(kind)]
    settings = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        key = key.replace("-", "_")
        if not sign or key not in fields:
            raise InputError(
                f"setting {pair!r} of instrument {kind.name!r}",
                expected="key=value with key one of " + ", ".join(fields),
                remedy=did_you_mean(key, fields),
            )
        try:
            settings[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            settings[key] = value
    return settings
