"""Sphinx's settings; `build.py` puts the pages together and calls it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from kept import BUILD, ROOT

import cutaway

project = "Cutaway"
copyright = "the authors of Cutaway"
version = release = cutaway.__version__

extensions = ["myst_nb", "sphinx_design", "mathml"]
html_math_renderer = "mathml"
exclude_patterns: list[str] = []
nb_execution_mode = "off"  # `notebooks.py` runs them
nb_mime_priority_overrides = [("html", "text/html", 0), ("html", "image/svg+xml", 5), ("html", "image/png", 6)]
nb_render_image_options = {"align": "left"}
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_block"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
suppress_warnings = ["mystnb.unknown_mime_type", "ref.python"]  # annotations say `Region` of two packages

html_theme = "furo"
html_title = f"Cutaway {release}"
html_static_path = [str(ROOT / "docs" / "site" / "static")]
html_extra_path = [str(BUILD / "extra")]  # pages that Cutaway itself writes
html_css_files = ["cutaway.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f4e79", "color-brand-content": "#1f4e79"},
    "dark_css_variables": {"color-brand-primary": "#8ab8e6", "color-brand-content": "#8ab8e6"},
}
pygments_style, pygments_dark_style = "friendly", "github-dark"
