"""`cutaway track RUN`: follow a tracked training run in the terminal, and as a page that refreshes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cutaway.cli.command import Outcome, new_app
from cutaway.cli.options import Seed
from cutaway.errors import InputError

if TYPE_CHECKING:
    from cutaway.training.store import TrainingRun
    from cutaway.training.story import Story

app = new_app("track")

BARS = "▁▂▃▄▅▆▇█"


@app.default
def track(
    run: Path,
    *,
    follow: bool | None = None,
    every: float = 2.0,
    page: Path | None = None,
    csv: Path | None = None,
    seed: Seed = 0,
) -> Outcome:
    """Follow a tracked training run until it is finished (Ctrl-C stops watching, not the run).

    Parameters
    ----------
    run
        Folder that a `Tracker` or `cutaway fit` fills.
    follow
        Watch until the run is finished; by default on a terminal. Otherwise tell how it stands and return.
    every
        Seconds between looks.
    page
        Also write the run's page there at every look; the page asks the browser to load it again.
    csv
        Also write every figure, one line each: step, name, value, low, high.
    """
    from cutaway.training.store import open_training
    from cutaway.training.story import tell

    if not every > 0:
        raise InputError(
            "option --every", found=str(every), expected="seconds, more than 0", remedy="give a number above 0"
        )
    at = open_training(run)
    watching = follow if follow is not None else sys.stderr.isatty() and not at.finished
    if watching:
        at = _watch(run, every, page, seed)
    story = tell(at, seed=seed)
    if page is not None:
        _write_page(at, page, story, refresh=0)
    if csv is not None:
        _write_csv(at, csv)
    return Outcome(payload=_payload(at, story), words=_words(at, story))


def _payload(run: TrainingRun, story: Story) -> dict[str, Any]:
    """What `--json` prints."""
    series = {s.name: [[int(a), b] for a, b in zip(s.steps, s.value, strict=True)] for s in run.series.values()}
    phases = [
        {
            "series": name,
            "name": p.name,
            "start": p.start,
            "end": p.end,
            "end_low": p.end_low,
            "end_high": p.end_high,
            "change": p.change,
            "change_low": p.change_low,
            "change_high": p.change_high,
            "present": p.present,
        }
        for name, told in story.phases.items()
        for p in told.phases
    ]
    events = [
        {
            "name": e.name,
            "series": e.series,
            "step": e.onset.step,
            "low": e.onset.low,
            "high": e.onset.high,
            "text": e.text,
        }
        for e in story.events
    ]
    return {
        "steps": run.last_step,
        "finished": run.finished,
        "series": series,
        "phases": phases,
        "events": events,
        "notes": list(story.notes),
        "troubles": [dict(e) for e in run.events if e["what"] not in ("finished", "resumed")],
        "checkpoints": {str(step): str(file) for step, file in run.checkpoints.items()},
        "tracking_share": run.shares[-1][2] / run.shares[-1][1] if run.shares and run.shares[-1][1] else None,
    }


def _words(run: TrainingRun, story: Story) -> str:
    from cutaway.report.training_page import state
    from cutaway.training.story import when
    from cutaway.wording import said

    lines = [f"{run.record['model']['name']}: step {run.last_step:,}, {state(run)}"]
    for s in run.series.values():
        lines.append(f"  {_line(s.value)}  {s.called}: {said(s.value[-1], '.4g')} at step {s.steps[-1]:,}")
    lines += [f"- {e.name}{when(e.onset)}: {e.text} ({run.series[e.series].called})" for e in story.events]
    lines += [f"- {run.series[name].called}: {told.told()}" for name, told in story.phases.items()]
    lines += [f"- {note}" for note in story.notes]
    return "\n".join(lines)


def _watch(folder: Path, every: float, page: Path | None, seed: int) -> TrainingRun:
    """Draw a table until the run is finished or the user stops watching."""
    import time

    from rich.console import Console
    from rich.live import Live

    from cutaway.training.store import open_training
    from cutaway.training.story import Story

    run = open_training(folder)
    seen = -1
    try:
        with Live(_table(run), console=Console(stderr=True), auto_refresh=False) as live:
            while True:
                run = open_training(folder)
                live.update(_table(run), refresh=True)
                if page is not None and len(run.readings) != seen:
                    seen = len(run.readings)
                    _write_page(run, page, Story(), refresh=max(1, round(every)))
                if run.finished or any(e["what"] == "failed" for e in run.events):
                    return run
                time.sleep(every)
    except KeyboardInterrupt:
        return run


def _table(run: TrainingRun) -> Any:
    from rich.table import Table

    from cutaway.report.training_page import state
    from cutaway.wording import said

    table = Table(title=f"{run.record['model']['name']}: step {run.last_step:,}, {state(run)}", title_justify="left")
    for name in ("measure", "over the steps", "step", "value", "95 % interval"):
        table.add_column(name, justify="left" if name in ("measure", "over the steps") else "right")
    if "loss" in run.scalars:
        steps, values = run.scalars["loss"]
        table.add_row("loss", _line(values), f"{steps[-1]:,}", said(values[-1], ".4g"), "")
    for s in run.series.values():
        band = f"{s.low[-1]:.3g} to {s.high[-1]:.3g}" if s.low[-1] == s.low[-1] else ""
        table.add_row(s.called, _line(s.value), f"{s.steps[-1]:,}", said(s.value[-1], ".4g"), band)
    return table


def _line(values: Any, width: int = 24) -> str:
    """A line of bars, over the logarithm of time for long series."""
    import numpy as np

    from cutaway.report.film import thinned

    values = np.asarray(values, dtype=float)
    values = values[thinned(np.arange(len(values)), width)][-width:]
    good = values[np.isfinite(values)]
    if len(good) == 0:
        return "·" * len(values)
    span = float(np.ptp(good)) or 1.0
    heights = (values - good.min()) / span * (len(BARS) - 1)
    return "".join(BARS[round(h)] if np.isfinite(h) else "·" for h in heights)


def _write_page(run: TrainingRun, page: Path, story: Story, *, refresh: int) -> None:
    from cutaway.report.training_page import write_training_page

    write_training_page(run, page, story=story, refresh=refresh)


def _write_csv(run: TrainingRun, path: Path) -> None:
    from cutaway.files import write_text

    lines = ["step,name,value,low,high"]
    for s in run.series.values():
        lines += [
            f"{a},{s.name},{b!r},{c!r},{d!r}"
            for a, b, c, d in zip(s.steps.tolist(), s.value.tolist(), s.low.tolist(), s.high.tolist(), strict=True)
        ]
    write_text(path, "\n".join(lines) + "\n")
