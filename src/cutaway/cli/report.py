"""`cutaway report RUN`: write the page of a run again."""

from __future__ import annotations

from pathlib import Path

from cutaway.cli.command import Outcome, new_app

app = new_app("report")


@app.default
def report(run: Path, *, out: Path | None = None) -> Outcome:
    """Write a run's report again.

    Readings that are missing or damaged are listed on the page; with some the exit code is 1.

    Parameters
    ----------
    run
        A folder that `cutaway scan`, `cutaway fit` or a `Tracker` filled (the training film of a tracked run).
    out
        File to write; by default `report.html` in the folder.
    """
    from cutaway.cli.scan import run_payload
    from cutaway.report.page import write_report
    from cutaway.report.training_page import write_training_page
    from cutaway.running import open_run, read_record
    from cutaway.training.store import open_training
    from cutaway.wording import title

    if read_record(run).get("kind") == "training":
        path = write_training_page(open_training(run), out)
        return Outcome(payload={"report": str(path), "run": str(run)}, words=f"report: {path}")
    opened = open_run(run)
    path = write_report(opened, out)
    lost = [f"{title(each.what)} could not be read: {each.reason}" for each in opened.unread]
    payload = run_payload(opened, path)
    payload["unread"] = [{"what": each.what, "reason": each.reason} for each in opened.unread]
    return Outcome(payload=payload, words="\n".join([*lost, f"report: {path}"]), code=1 if lost else 0)
