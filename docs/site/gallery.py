"""The gallery: every picture that Cutaway draws, made here from measurements of small real networks, and kept."""

from __future__ import annotations

import inspect
import json
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import gallery_pages
import gallery_pictures
import gallery_readings
from kept import BUILD, kept
from tables import table

from cutaway import registry
from cutaway.wording import title

EXTRA = BUILD / "extra"


@dataclass(frozen=True)
class Shown:
    """A picture (or a page) in the site's source, with its heading, what it shows and how one gets it."""

    name: str
    heading: str
    words: str
    how: str
    image: str = ""
    page: str = ""
    subject: str = ""
    figures: str = ""

    def markdown(self, up: str = "") -> str:
        """The picture with its words."""
        picture = f"![{self.heading}]({up}{self.image})\n\n" if self.image else ""
        return f"{picture}{self.words}"


def drawn(source: Path) -> dict[str, Shown]:
    """All pictures, by name; those whose data are not there are left out and said."""
    target = source / "drawn"
    target.mkdir()
    shutil.rmtree(EXTRA, ignore_errors=True)
    EXTRA.mkdir(parents=True)
    found: dict[str, Shown] = {}
    for name in registry.homes():
        keep = kept(
            f"reading-{name}", inspect.getsource(gallery_readings), lambda p, n=name: gallery_readings.write(n, p)
        )
        record = json.loads((keep / "record.json").read_text(encoding="utf-8"))
        if not record["image"]:
            print(f"no picture of {name}: {record['words']}", file=sys.stderr)
            continue
        shutil.copy(keep / record["image"], target / f"{name}.svg")
        heads = ("figure", "value", "95 % interval", "null", "p")
        found[name] = Shown(
            name=name,
            heading=title(name),
            words=record["words"],
            how=f'`cutaway measure {name} ... --plot picture.svg`, `reading.plot("picture.svg")`',
            image=f"drawn/{name}.svg",
            subject=record["subject"],
            figures=table(heads, record["figures"]),
        )
    for make in (*gallery_pictures.PICTURES, *gallery_pages.PAGES):
        found[make.__name__] = _made(make, target)
    return found


def _made(make, target: Path) -> Shown:
    """What a function of `gallery_pictures` or `gallery_pages` drew; its docstring says heading, words and way."""
    name, began = make.__name__, time.process_time()
    folder = kept(f"picture-{name}", inspect.getsource(sys.modules[make.__module__]), lambda p: _run(make, p))
    if (spent := time.process_time() - began) > 1:
        print(f"drew {name} in {spent:.1f} CPU s", file=sys.stderr)
    heading, words, how = inspect.cleandoc(make.__doc__).split("\n\n")
    image = page = ""
    for path in sorted(folder.iterdir()):
        if path.suffix == ".html":
            shutil.copy(path, EXTRA / f"{name}.html")
            page = f"{name}.html"
        else:
            shutil.copy(path, target / f"{name}{path.suffix}")
            image = f"drawn/{name}{path.suffix}"
    return Shown(name=name, heading=heading.rstrip("."), words=words, how=how, image=image, page=page)


def _run(make, folder: Path) -> None:
    folder.mkdir(parents=True)
    make(folder)


def write(source: Path, found: dict[str, Shown]) -> None:
    """`gallery.md`."""
    parts = [
        "# Gallery",
        "The pictures that Cutaway draws, made from measurements while this site was built; two come from longer runs "
        "and say so.",
    ]
    instruments = [s for n, s in found.items() if n in registry.homes()]
    others = [s for n, s in found.items() if n not in registry.homes()]
    for head, group in (
        ("Pages", [s for s in others if s.page]),
        ("Pictures", [s for s in others if not s.page]),
        ("Readings", instruments),
    ):
        parts += [f"## {head}", *(_entry(s) for s in group)]
    (source / "gallery.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _entry(shown: Shown) -> str:
    link = f'\n\n<a href="{shown.page}">Open the page</a>.' if shown.page else ""
    more = f" [More](instruments/{shown.name}.md)." if shown.figures else ""
    return f"### {shown.heading}\n\n{shown.markdown()}{link}\n\nHow: {shown.how}.{more}"
