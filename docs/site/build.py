"""Builds the documentation into docs/_build/html: `make docs`.

    python docs/site/build.py [--draft]

Pages are put together in docs/_build/source: the guides of docs/ and the texts at the repository's root as they stand,
the notebooks and commands with what they gave, and pages made from the library itself (instruments, errors, names,
glossary, reproductions, pictures). A warning of Sphinx is an error, and so is a link that leads nowhere. Nothing is
fetched. `--draft` leaves out what has to be run.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import api_pages
import error_pages
import gallery
import glossary_page
import instrument_pages
import links
import notebooks
import paper_page
import walkthrough
from kept import BUILD, ROOT

SOURCE, SITE = BUILD / "source", BUILD / "html"
ROOT_PAGES = ("CHANGELOG", "CONTRIBUTING", "ARCHITECTURE", "SECURITY")


def main() -> int:
    """Build, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draft", action="store_true", help="without notebooks, pictures and commands")
    draft = parser.parse_args().draft
    began = time.process_time()
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.rmtree(SITE, ignore_errors=True)
    SOURCE.mkdir(parents=True)
    written(draft)
    from sphinx.cmd.build import build_main

    arguments = [
        "-b",
        "html",
        "-W",
        "--keep-going",
        "-q",
        "-d",
        str(BUILD / "doctrees"),
        "-c",
        str(ROOT / "docs" / "site"),
    ]
    code = build_main([*arguments, "-E", str(SOURCE), str(SITE)])
    found = [] if code else links.faults(SITE)
    for line in found:
        print(line, file=sys.stderr)
    if code:
        return 1
    print(
        f"{SITE / 'index.html'}: {len(list(SITE.rglob('*.html')))} pages, {_cpu(began):.0f} CPU s, "
        f"{len(found)} broken links"
    )
    return 1 if found else 0


def written(draft: bool) -> None:
    """All pages, as Sphinx reads them."""
    shutil.copytree(ROOT / "docs" / "figures", SOURCE / "figures")
    for path in sorted((ROOT / "docs").glob("*.md")):
        put(path.name, walkthrough.told(path.read_text(encoding="utf-8"), path.stem, draft=draft))
    for path in sorted((ROOT / "docs" / "site" / "pages").glob("*.md")):
        shutil.copy(path, SOURCE / path.name)
    for name in ROOT_PAGES:
        put(f"{name}.md", (ROOT / f"{name}.md").read_text(encoding="utf-8"))
    folder = SOURCE / "notebooks"
    folder.mkdir()
    for path in notebooks.notebooks():
        book = (path if draft else notebooks.executed(path)).read_text(encoding="utf-8")
        (folder / path.name).write_text(book.replace("](../../docs/", "](../"), encoding="utf-8")
    drawn = {} if draft else gallery.drawn(SOURCE)
    gallery.write(SOURCE, drawn)
    instrument_pages.write(SOURCE, drawn)
    error_pages.write(SOURCE)
    glossary_page.write(SOURCE)
    paper_page.write(SOURCE)
    api_pages.write(SOURCE)


def put(name: str, text: str) -> None:
    """A page, its links to files of the repository made links to pages of the site or plain names."""
    (SOURCE / name).write_text(on_site(text), encoding="utf-8")


def on_site(text: str) -> str:
    """`text` of docs/ or of the root with links as the site has them."""

    def link(match: re.Match[str]) -> str:
        shown, target = match[1], match[2]
        if re.match(r"[a-z]+:|#|<", target):
            return match[0]
        path = target.removeprefix("../").removeprefix("docs/").replace("examples/notebooks/", "notebooks/")
        file = path.partition("#")[0]
        known = file.endswith((".md", ".ipynb", ".png", ".svg")) and not file.startswith(("examples/", "shared/"))
        return f"[{shown}]({path})" if known or path.startswith("site:") else f"`{shown.strip('`')}`"

    return re.sub(r"\[([^\]\[]+)\]\(([^)\s]+)\)", link, text)


def _cpu(began: float) -> float:
    import resource

    return time.process_time() - began + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


if __name__ == "__main__":
    sys.exit(main())
