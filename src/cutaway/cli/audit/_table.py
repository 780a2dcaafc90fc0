"""What audits of a table share: its reading and page in a run folder, and a verdict in a word."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cutaway.cli.command import Outcome
from cutaway.errors import InputError

if TYPE_CHECKING:
    from cutaway.audits import TableAudit
    from cutaway.reading import Reading


def check_folder(out: Path | None) -> None:
    """Before the work: the folder is new or empty. Raises InputError."""
    from cutaway.files import is_unfinished

    if out is not None and out.exists() and (not out.is_dir() or any(not is_unfinished(e) for e in out.iterdir())):
        raise InputError(
            f"folder {str(out)!r}",
            found="other files" if out.is_dir() else "a file",
            expected="an empty or new folder",
            remedy="give a new folder with --out",
        )


def audited(audit: TableAudit, reading: Reading, out: Path | None) -> Outcome:
    """Keep the reading, write its page (both or none), and say what was found."""
    from cutaway.cli.scan import default_folder, reading_rows
    from cutaway.files import atomic_folder
    from cutaway.reading.store import SUFFIX
    from cutaway.report.audit_page import write_audit_page

    folder = out or default_folder(f"audit-{audit.name}-{reading.provenance.data}", resume=False)
    with atomic_folder(folder) as temporary:
        reading.save(temporary / "readings" / f"{audit.name}{SUFFIX}")
        write_audit_page(audit, reading, temporary / "report.html")
    path, verdict, words = folder / "report.html", audit.verdict(reading), audit.describe(reading)
    payload = {
        "report": str(path),
        "run": str(folder),
        "seconds": reading.cost.seconds,
        "verdict": verdict,
        "words": words,
        "readings": reading_rows(reading),
        **audit.more(reading),
    }
    told = [f"verdict: {verdict}", *words, "", *(f.told() for f in reading.figures), "", f"report: {path}"]
    return Outcome(payload=payload, words="\n".join(told))
