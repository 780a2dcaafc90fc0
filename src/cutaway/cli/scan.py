"""`cutaway scan [MODEL]`: every instrument that applies, with nulls, and a report."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.options import Several
from cutaway.cli.subject import Engine, Subject
from cutaway.errors import InputError, did_you_mean

app = new_app("scan")


@dataclass(frozen=True, kw_only=True)
class Anywhere(Engine):
    """Processes where they pay."""

    engine: str = "auto"


@app.default
def scan(
    subject: Subject = Subject(),
    *,
    out: Path | None = None,
    nulls: int = 39,
    within: str | None = None,
    null: str | None = None,
    only: Annotated[list[str] | None, Several] = None,
    radius: float | None = None,
    engine: Anywhere = Anywhere(),
    resume: bool = False,
    holdout: Path | None = None,
) -> Outcome:
    """Look into a network with every instrument that applies, with nulls, and write a report.

    Without MODEL, a small network is trained on scikit-learn's digits (seconds) and scanned. Without --radius, attacks
    take one that the data's range suggests. Instruments whose verdict is settled draw fewer than --nulls.

    Parameters
    ----------
    out
        Run folder; by default `runs/NAME` in the current folder.
    nulls
        How many null networks, at most; 0 for none.
    within
        Time to keep to, such as 90s, 10min or 1h: rows and nulls are cut to fit, and what that many can still tell is
        said.
    null
        Use this null for all instruments: reinitialised, permuted-labels, matched-spectrum, random-mask, or
        memorised-labels, which trains each of its networks.
    only
        Names of the instruments to run, instead of all.
    radius
        Radius of the ball round an input, in the data's units.
    resume
        Go on with the run in the folder.
    holdout
        Folder in which looks at these rows are counted; the report says how many there were.
    """
    from cutaway.engines.progress import progress_lines
    from cutaway.evidence.null import NULLS
    from cutaway.report.page import write_report
    from cutaway.scan_cost import parse_duration
    from cutaway.scanning import ScanSettings
    from cutaway.scanning import scan as run_scan

    if null is not None and null not in NULLS:
        raise InputError("option --null", found=null, expected=", ".join(NULLS), remedy=did_you_mean(null, NULLS))
    if nulls < 0:
        raise InputError(
            "option --nulls", found=str(nulls), expected="0 or more", remedy="give a whole number of at least 0"
        )
    settings = ScanSettings(
        nulls=nulls,
        null=null,
        seed=subject.seed,
        budget=subject.room,
        **asdict(engine),
        resume=resume,
        within=None if within is None else parse_duration(within),
        estimate=True,
        holdout=holdout,
    )
    say = _say
    if subject.model is None:
        say("no model given: training a small convolutional network on scikit-learn's digits (a few seconds)")
    network, dataset = subject.open()
    folder = out or default_folder(network.name, resume=resume)
    chosen = chosen_instruments(dataset, only, radius)
    with progress_lines() as note:
        run = run_scan(network, dataset, folder, instruments=chosen, settings=settings, progress=note, tell=say)
        note("writing the report")
        path = write_report(run)
    return Outcome(payload=run_payload(run, path), words=run_words(run, path), code=1 if run.failed else 0)


def chosen_instruments(dataset, only: list[str] | None, radius: float | None) -> list:
    """The instruments of a scan, by name if `only` is given, with the attack radius if that is."""
    import dataclasses

    from cutaway import registry
    from cutaway.scanning import default_instruments

    chosen = default_instruments(dataset) if not only else [registry.instrument(n).suited(dataset) for n in only]
    if radius is None:
        return chosen
    if not any(instrument.attacks for instrument in chosen):
        raise InputError(
            "option --radius",
            found="no instrument that attacks",
            expected="one that does, such as robust-accuracy",
            remedy="leave --radius out, or add such an instrument to --only",
        )
    return [dataclasses.replace(i, radius=radius) if i.attacks else i for i in chosen]


def default_folder(name: str, *, resume: bool) -> Path:
    """`runs/NAME`, or with a number behind it where that is taken; with `resume` the newest that is there."""
    base = Path("runs") / "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
    taken = [base] if base.exists() else []
    while taken and (following := base.with_name(f"{base.name}-{len(taken) + 1}")).exists():
        taken.append(following)
    if resume:
        return taken[-1] if taken else base
    return base.with_name(f"{base.name}-{len(taken) + 1}") if taken else base


def run_payload(run, path: Path) -> dict[str, Any]:
    """What `--json` prints of a run."""
    skipped = {(s.what, s.reason) for r in run.readings for s in r.coverage.skipped}
    skipped |= {(r.instrument, r.reason) for r in run.readings if r.reason}
    skipped |= {(row["instrument"], row["reason"]) for row in run.record.get("not_run", ())}
    read = sorted({s for r in run.readings for s in r.coverage.sites})
    return {
        "report": str(path),
        "run": str(run.folder),
        "seconds": run.seconds,
        "network": {k: v for k, v in run.network.items() if k != "sites_list"},
        "coverage": {"read": read, "skipped": [{"what": w, "reason": r} for w, r in sorted(skipped)]},
        "warnings": list(run.record.get("warnings", ())),
        "reach": run.record.get("reach", ""),
        "readings": [row for r in run.readings for row in reading_rows(r)],
    }


def reading_rows(reading) -> list[dict[str, Any]]:
    """The figures of a reading as promised rows; one without a value where the instrument failed."""
    if reading.status != "failed":
        return [figure_row(reading, figure) for figure in reading.figures]
    empty = dict.fromkeys(("value", "low", "high", "level", "p_value", "q_value", "null_median"))
    whole = {"instrument": reading.instrument, "name": reading.instrument, **empty, "status": "failed", "unit": "1"}
    return [whole | {"reason": reading.reason}]


def figure_row(reading, figure) -> dict[str, Any]:
    """One figure as the promised JSON row."""
    return {
        "instrument": reading.instrument,
        "name": figure.name,
        "value": figure.value,
        "low": figure.low,
        "high": figure.high,
        "level": figure.level,
        "p_value": figure.p_value,
        "q_value": figure.q_value,
        "null_median": figure.null_median,
        "status": figure.status.value,
        "unit": figure.unit,
    }


def run_words(run, path: Path) -> str:
    from cutaway.report.words import digest

    told = digest(run)
    lines = [*told.warnings, told.verdict, "", told.network, ""]
    lines += [f"- {text}" for text in told.findings]
    if told.alike:
        lines += ["", "Not told apart from the null:"] + [f"- {text}" for text in told.alike]
    if told.open:
        lines += ["", f"Too few nulls to tell. {told.wanting}"] + [f"- {text}" for text in told.open]
    if told.unread:
        lines += ["", "Not run or not read:"] + [f"- {text}" for text in told.unread]
    return "\n".join([*lines, "", f"report: {path} ({run.seconds:.0f} s)"])


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
