"""The report of a run: one self-contained HTML file that needs no network."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from cutaway import registry
from cutaway.evidence.decision import CALLED
from cutaway.files import write_text
from cutaway.reading import Figure, Reading
from cutaway.report.glossary import marked, used
from cutaway.report.tiles import tiles
from cutaway.report.words import Digest, decisions_of, digest, ranked, sentence
from cutaway.running import Run
from cutaway.wording import null_words, title


def write_report(run: Run, path: str | Path | None = None) -> Path:
    """Write the page of `run` (by default `report.html` in its folder); returns the path. The page loads nothing from
    outside."""
    target = Path(path) if path is not None else run.page
    decisions = decisions_of(run)
    sections = [_section(reading, index) for index, reading in enumerate(ranked(run, decisions))]
    drawn = [s for s in sections if s["reading"].figures]
    lead = drawn[0] if drawn else None
    told = digest(run)
    seen: set[str] = set()
    environment = page_environment()
    environment.filters.update(interval=interval_text, chance=chance, marked=lambda text: marked(text, seen))
    html = environment.get_template("run.html").render(
        run=run,
        record=run.record,
        digest=told,
        tiles=tiles(run.readings, decisions),
        lead=lead,
        sections=drawn,
        silent=[s for s in sections if not s["reading"].figures],
        called=CALLED,
        trained_anew=bool(drawn) and all(s["trained_anew"] for s in drawn),
        nulls=sorted({null_words(r.null).long for r in run.readings if r.null}),
        terms=used(" ".join([*_texts(told), *(s["words"] for s in drawn), *_names(drawn), "null q-value p-value"])),
        bundle=vega_bundle(),
        specs=embedded({s["id"]: s["spec"] for s in drawn} | ({"lead": lead["spec"]} if lead else {})),
    )
    return write_text(target, html)


def page_environment() -> jinja2.Environment:
    """The templates of this folder, escaping what they are given."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cutaway.report", "templates"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(number=number_text)
    return environment


def embedded(value: Any) -> str:
    """JSON that may stand inside a script element."""
    return json.dumps(value).replace("</", "<\\/")


def _texts(told: Digest) -> list[str]:
    return [told.verdict, told.network, *told.findings, *told.alike, *told.open, *told.unread]


def _names(sections: list[dict[str, Any]]) -> list[str]:
    return [f.long_name for s in sections for f in s["reading"].figures]


def _section(reading: Reading, index: int) -> dict[str, Any]:
    known = reading.instrument in registry.names()
    kind = registry.instrument(reading.instrument) if known else None
    return {
        "trained_anew": kind is not None and kind.trains_anew,
        "id": f"figure-{index}",
        "reading": reading,
        "title": title(reading.instrument),
        "question": kind.question if kind else "",
        "source": kind.source if kind else "",
        "limits": kind.limits if kind else "",
        "method": _method(kind),
        "words": sentence(reading) if reading.figures else "",
        "spec": _spec(reading) if reading.figures else None,
        "null": null_words(reading.null) if reading.null else None,
    }


def _spec(reading: Reading) -> dict[str, Any] | None:
    """The picture as Vega-Lite, the plain one where the instrument's own code fails."""
    from cutaway.pictures.charts import figures_chart

    try:
        return reading.plot().to_dict()
    except Exception:  # another package's code: the report goes on
        return figures_chart(reading).to_dict()


def _method(kind: Any) -> str:
    """The first paragraphs of the instrument's docstring."""
    import inspect

    return " ".join((inspect.getdoc(kind) or "").split()).replace("`", "") if kind else ""


@cache
def vega_bundle() -> str:
    """JavaScript that draws Vega-Lite, from the installed package; defines `vegaEmbed`."""
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace("</script", "<\\/script")


def number_text(value: float | None) -> str:
    """Three significant digits; a dash for what is not there."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def interval_text(figure: Figure) -> str:
    if figure.low is None or figure.high is None or math.isnan(figure.low):
        return "–"
    if figure.sure:
        return f"± {figure.error:.1g} (bound)"
    return f"{number_text(figure.low)} to {number_text(figure.high)}"


def chance(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}" if value >= 0.0995 else f"{value:.2g}"
