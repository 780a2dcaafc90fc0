"""Formulas as MathML, which browsers draw themselves: no script, no fonts to fetch."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml


def inline(translator: Any, node: Any) -> None:
    translator.body.append(str(latex2mathml.tex2mathml(node.astext(), as_block=False)))
    raise nodes.SkipNode


def block(translator: Any, node: Any) -> None:
    translator.body.append('<div class="math">')
    translator.body.append(str(latex2mathml.tex2mathml(node.astext(), as_block=True)))
    translator.body.append("</div>")
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
