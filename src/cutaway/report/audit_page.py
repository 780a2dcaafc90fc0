"""The page of an audit of a table: verdict, words, picture, figures beside their null; one file alone."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

from cutaway.files import write_text
from cutaway.report.glossary import marked
from cutaway.report.page import chance, embedded, interval_text, page_environment, vega_bundle
from cutaway.wording import null_words, title

if TYPE_CHECKING:
    from cutaway.audits import TableAudit
    from cutaway.reading import Reading


def write_audit_page(audit: TableAudit, reading: Reading, path: str | Path) -> Path:
    """Write the page of `reading`, made by `audit`, and return its path. The page loads nothing from outside."""
    environment, seen = page_environment(), set()
    environment.filters.update(interval=interval_text, chance=chance, marked=lambda text: marked(text, seen))
    html = environment.get_template("audit.html").render(
        audit=audit,
        reading=reading,
        title=title(audit.name),
        verdict=audit.verdict(reading),
        words=audit.describe(reading),
        method=" ".join((inspect.getdoc(type(audit)) or "").split()).replace("`", ""),
        null=null_words(reading.null) if reading.null else None,
        tables={name: rows for name, rows in audit.more(reading).items() if isinstance(rows, list) and rows},
        bundle=vega_bundle(),
        specs=embedded({"picture": audit.draw(reading).to_dict()}),
    )
    return write_text(path, html)
