"""What a notebook shows of a run or a reading: the same tiles and figures as the page, as a fragment of HTML."""

from __future__ import annotations

from cutaway.reading import Reading
from cutaway.report.glossary import marked
from cutaway.report.page import chance, interval_text, page_environment
from cutaway.report.tiles import tiles
from cutaway.report.words import decisions_of, run_verdict, sentence
from cutaway.running import Run
from cutaway.wording import null_words, title


def run_html(run: Run) -> str:
    """The verdict and the tiles of a run."""
    decisions = decisions_of(run)
    return _rendered(
        verdict=run_verdict(run, decisions), tiles=tiles(run.readings, decisions), warnings=run.record["warnings"]
    )


def reading_html(reading: Reading) -> str:
    """An instrument's words and its figures with interval and null."""
    return _rendered(
        reading=reading,
        title=title(reading.instrument),
        words=sentence(reading) or reading.reason,
        null=null_words(reading.null) if reading.null else None,
    )


def _rendered(**fields: object) -> str:
    environment = page_environment()
    seen: set[str] = set()
    environment.filters.update(interval=interval_text, chance=chance, marked=lambda text: marked(text, seen))
    empty = {
        "sections_below": False,
        "verdict": "",
        "tiles": [],
        "warnings": (),
        "reading": None,
        "title": "",
        "words": "",
        "null": None,
    }
    return environment.get_template("notebook.html").render({**empty, **fields})
