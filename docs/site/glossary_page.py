"""The glossary, from the terms that reports explain."""

from __future__ import annotations

from pathlib import Path

from cutaway.report.glossary import GLOSSARY
from cutaway.status import Status


def write(source: Path) -> None:
    """`glossary.md`."""
    terms = "\n\n".join(f"{term}\n: {GLOSSARY[term]}" for term in sorted(GLOSSARY, key=str.lower))
    status = "\n\n".join(f"{s.value}\n: {s.remedy[:1].upper()}{s.remedy[1:]}." for s in Status)
    (source / "glossary.md").write_text(
        "# Glossary\n\nThe words of reports and readings; in a report each is explained where it first stands.\n\n"
        f"{terms}\n\n## What a status asks of you\n\nEvery figure and every reading has one.\n\n{status}\n",
        encoding="utf-8",
    )
