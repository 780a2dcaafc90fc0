"""The page of a tracked training run: the film, what it tells, checkpoints to open, provenance. One offline file."""

from __future__ import annotations

from pathlib import Path

from cutaway.files import write_text
from cutaway.report.film import page_panels
from cutaway.report.film_tiles import ended, last_values
from cutaway.report.page import embedded, page_environment, vega_bundle
from cutaway.training.store import TrainingRun
from cutaway.training.story import Story, tell, when


def write_training_page(
    run: TrainingRun, path: str | Path | None = None, *, story: Story | None = None, refresh: int = 0
) -> Path:
    """Write the page of `run` (by default `report.html` in its folder) and return its path.

    With `refresh`, the page asks the browser to load it again every so many seconds (for runs under way).
    """
    told = story if story is not None else tell(run)
    spent = run.shares[-1] if run.shares else None
    panels = [(f"film-{k}", panel, spec) for k, (panel, spec) in enumerate(page_panels(run, told))]
    sets, groups = last_values(run)
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
        name=run.record.get("settings", {}).get("name") or run.record["model"]["name"],
        tiles=ended(run),
        panels=[(place, panel) for place, panel, _ in panels],
        sets=sets,
        groups=groups,
        opens=(run.folder / "model.json").exists(),
        bundle=vega_bundle(),
        specs=embedded({place: spec for place, _, spec in panels}),
    )
    return write_text(Path(path) if path is not None else run.folder / "report.html", html)


_TROUBLES = {
    "nan": "the loss was not a finite number",
    "not-measured": "not measured",
    "failed": "failed",
    "resumed": "resumed",
}


def state(run: TrainingRun) -> str:
    """`finished`, `stopped`, `failed` with the reason, or `under way, or cut off`."""
    last = next((e for e in reversed(run.events) if e["what"] in ("finished", "failed", "resumed")), None)
    if last is None or last["what"] == "resumed":
        return "under way, or cut off"
    reason = str(last.get("reason", ""))
    if reason.startswith("KeyboardInterrupt"):
        return "stopped by hand; --resume goes on"
    return last["what"] if last["what"] == "finished" else f"failed: {reason}"
