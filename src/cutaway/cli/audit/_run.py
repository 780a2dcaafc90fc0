"""What audits of a network share: one instrument with its nulls in a run folder with a page, and a verdict in a
word."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cutaway.cli.command import Outcome

if TYPE_CHECKING:
    from cutaway.cli.subject import Engine, Subject
    from cutaway.data import Dataset
    from cutaway.instrument import Instrument
    from cutaway.network import Network
    from cutaway.reading import Reading

UNKNOWN = "unknown"


def audit_network(
    instrument: Instrument,
    network: Network,
    data: Dataset,
    subject: Subject,
    engine: Engine,
    *,
    out: Path | None,
    nulls: int,
    verdict: Callable[[Reading], str],
    keep: Callable[[Reading, Path], dict[str, str]] | None = None,
) -> Outcome:
    """Run `instrument` on `network`, opened as `subject` says, write the page, and add what `verdict` makes of the
    reading; `unknown`, and exit code 2, where it has no figures since the question does not apply. `keep` writes more
    of a reading with figures into the folder and tells the files by name."""
    from cutaway.cli.scan import default_folder, run_payload, run_words
    from cutaway.engines.progress import progress_lines
    from cutaway.report.page import write_report
    from cutaway.scanning import ScanSettings, scan

    folder = out or default_folder(f"audit-{instrument.name}-{network.name}", resume=False)
    settings = ScanSettings(nulls=nulls, seed=subject.seed, budget=subject.room, **dataclasses.asdict(engine))
    with progress_lines() as note:
        run = scan(network, data, folder, instruments=[instrument], settings=settings, progress=note)
        path = write_report(run)
    reading = run.readings[0]
    found = verdict(reading) if reading.figures else UNKNOWN
    files = keep(reading, run.folder) if keep is not None and reading.figures else {}
    payload = run_payload(run, path) | {"verdict": found} | files
    words = f"verdict: {found}\n{run_words(run, path)}"
    words += "".join(f"\n{name}: {file}" for name, file in files.items())
    return Outcome(payload=payload, words=words, code=1 if run.failed else 0 if reading.figures else 2)
