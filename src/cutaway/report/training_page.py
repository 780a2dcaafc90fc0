"""The page of a tracked training run: the film, what it tells, checkpoints to open, provenance. One offline file."""

from __future__ import annotations

import math
from pathlib import Path

from cutaway.files import write_text
from cutaway.report.film import film
from cutaway.report.page import embedded, number, page_environment, vega_bundle
from cutaway.training.store import TrainingRun
from cutaway.training.story import Story, tell, when
from cutaway.wording import said


def write_training_page(
    run: TrainingRun, path: str | Path | None = None, *, story: Story | None = None, refresh: int = 0
) -> Path:
    """Write the page of `run` (by default `report.html` in its folder) and return its path.

    With `refresh`, the page asks the browser to load it again every so many seconds (for runs under way).
    """
    told = story if story is not None else tell(run)
    spent = run.shares[-1] if run.shares else None
    template = page_environment().get_template("training.html")
    html = template.render(
        run=run,
        record=run.record,
        story=told,
        refresh=0 if run.finished else refresh,
        spent=spent,
        share=spent[2] / spent[1] if spent and spent[1] else 0.0,
        state=state(run),
        troubles=[(e, _TROUBLES[e["what"]]) for e in run.events if e["what"] in _TROUBLES],
        when=when,
        last=[(s, said(s.value[-1]), band(s.low[-1], s.high[-1])) for s in run.series.values()],
        opens=(run.folder / "model.json").exists(),
        bundle=vega_bundle(),
        specs=embedded({"film": film(run, told).to_dict()}),
    )
    return write_text(Path(path) if path is not None else run.folder / "report.html", html)


_TROUBLES = {
    "nan": "the loss was not a finite number",
    "not-measured": "not measured",
    "failed": "failed",
    "resumed": "resumed",
}


def band(low: float, high: float) -> str:
    """An interval in a table; empty where an end is missing."""
    return f"{number(low)} to {number(high)}" if math.isfinite(low) and math.isfinite(high) else ""


def state(run: TrainingRun) -> str:
    """`finished`, `stopped`, `failed` with the reason, or `under way, or cut off`."""
    last = next((e for e in reversed(run.events) if e["what"] in ("finished", "failed", "resumed")), None)
    if last is None or last["what"] == "resumed":
        return "under way, or cut off"
    reason = str(last.get("reason", ""))
    if reason.startswith("KeyboardInterrupt"):
        return "stopped by hand; --resume goes on"
    return last["what"] if last["what"] == "finished" else f"failed: {reason}"
