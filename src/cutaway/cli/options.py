"""Options that several commands share. The annotated types carry the help of an option that has one meaning
everywhere; a network and its data are in `subject.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cutaway.errors import InputError

Seed = Annotated[int, Parameter(help="Seed of everything random.")]
Device = Annotated[str, Parameter(help="cpu, cuda, ...")]
Budget = Annotated[str | None, Parameter(help="Memory that the work may take, such as 2GB.")]
TrustCode = Annotated[
    bool, Parameter(help="Build a network by the factory that a run folder names, which runs its code.")
]
Several = Parameter(consume_multiple=True)
"""For lists: `--name a b c`."""


def check_picture(option: str, path: Path | None, endings: tuple[str, ...]) -> None:
    """Before the work, not after it: the picture's ending is one of `endings`, and its folder is there."""
    if path is None:
        return
    if path.suffix.lower() not in endings:
        *others, last = endings
        expected = f"a file name that ends in {', '.join(others)} or {last}"
        raise InputError(f"option {option}", found=str(path), expected=expected, remedy="give such a path")
    if not path.parent.is_dir():
        raise InputError(
            f"option {option}",
            found=f"no folder {path.parent}",
            expected="a file in a folder that is there",
            remedy="make the folder, or name another",
        )


def budget_bytes(text: str | None) -> int | None:
    """Bytes from `8GB`, `500MB` or a number."""
    if text is None:
        return None
    from cutaway.engines.budget import parse_budget as parse

    return parse(text)
