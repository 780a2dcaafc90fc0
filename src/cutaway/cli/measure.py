"""`cutaway measure NAME MODEL`: one instrument on one network, without nulls unless asked."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cutaway.cli.command import Outcome, new_app
from cutaway.errors import InputError

app = new_app("measure", "One instrument on one network.")


@app.default
def measure(
    name: str,
    model: str | None = None,
    *more: str,
    data: str | None = None,
    groups: str | None = None,
    labels2: str | None = None,
    weights: str | None = None,
    num: int | None = None,
    split: str = "test",
    set: Annotated[list[str] | None, Parameter(name="--set")] = None,
    nulls: int = 0,
    out: Path | None = None,
    plot: Path | None = None,
    seed: int = 0,
    device: str = "cpu",
    dtype: str | None = None,
    budget: str | None = None,
    engine: str = "inline",
    workers: int | None = None,
    address: str | None = None,
    trust_pickle: bool = False,
    trust_code: bool = False,
) -> Outcome:
    """Measure MODEL with the instrument NAME.

    Parameters
    ----------
    name
        An instrument, see `cutaway instruments`.
    model
        As in `cutaway scan`; without it, the small network trained on digits.
    more
        Further settings, as after `--set`: `--set a=1 b=2`.
    data
        A named set or a path.
    groups
        Array (.npz) or column (.csv, .parquet) of DATA that says which group a row is of; it is no input then.
    labels2
        Array or column of DATA with a second label of the same classes; it is no input then.
    weights
        Checkpoint to load into the model.
    num
        How many rows of the data.
    split
        train or test.
    set
        Settings of the instrument as `key=value`; may be given several times.
    nulls
        Number of null networks.
    out
        File for the reading (.zarr.zip; .nc and .parquet export); by default NAME.zarr.zip here.
    plot
        File for the picture (.png, .svg, .html).
    seed
        Seed of everything random.
    device
        `cpu`, `cuda`, ...
    dtype
        float32 or float64.
    budget
        Memory budget, such as 8GB.
    engine
        Where null networks are measured: inline, loky, dask or submitit.
    workers
        Worker processes for loky.
    address
        Scheduler address for dask.
    trust_pickle
        Allow pickled modules.
    trust_code
        Build the network of a run by the factory that the run names, which runs its code.
    """
    import dataclasses

    from cutaway import registry
    from cutaway.cli.options import budget_bytes, check_picture, open_subject
    from cutaway.cli.scan import figure_row
    from cutaway.engines.executor import get_executor
    from cutaway.evidence.null import NULLS, replicates
    from cutaway.reading import store

    kind = registry.instrument(name)
    if nulls < 0:
        raise InputError(
            "option --nulls", found=str(nulls), expected="0 or more", remedy="give a whole number of at least 0"
        )
    check_picture("--plot", plot, (".png", ".svg", ".pdf", ".html", ".json"))
    if model is not None and model.partition("=")[0] in {f.name for f in dataclasses.fields(kind)}:
        model, more = None, (model, *more)
    settings = _settings(kind, [*(set or []), *more])
    network, dataset = open_subject(
        model,
        data,
        weights=weights,
        num=num,
        seed=seed,
        split=split,
        device=device,
        dtype=dtype,
        trust_pickle=trust_pickle,
        trust_code=trust_code,
        budget=budget,
        groups=groups,
        labels2=labels2,
    )
    instrument = dataclasses.replace(kind.suited(dataset), **settings)
    limit = budget_bytes(budget)
    reading = instrument.measure(network, dataset, seed=seed, budget=limit)
    if nulls and reading.figures and instrument.null:
        with get_executor(engine, workers, address) as executor:
            draws = replicates(
                instrument,
                network,
                dataset,
                NULLS[instrument.null],
                count=nulls,
                seed=seed,
                budget=limit,
                executor=executor if engine != "inline" else None,
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
    words = reading.summary()
    if 0 < reading.coverage.samples < len(dataset.inputs):
        words += f"\n  read {reading.coverage.samples} of {len(dataset.inputs)} rows" + _how_to_read_all(instrument)
    words += f"\nfile: {target}"
    if plot is not None:
        payload["plot"] = str(plot)
        words += f"\nfile: {plot}"
    return Outcome(payload=payload, words=words)


def _how_to_read_all(instrument) -> str:
    return " (--set num_points=N for more)" if hasattr(instrument, "num_points") else ""


def _settings(kind, pairs: list[str]) -> dict[str, object]:
    import dataclasses
    import difflib

    fields = [f.name for f in dataclasses.fields(kind)]
    settings = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        key = key.replace("-", "_")
        if not sign or key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            raise InputError(
                f"setting {pair!r} of instrument {kind.name!r}",
                expected="key=value with key one of " + ", ".join(fields),
                remedy=f"did you mean {near[0]!r}?" if near else "",
            )
        try:
            settings[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            settings[key] = value
    return settings
