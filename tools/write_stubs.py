"""Write the `__init__.pyi` of every package whose `__init__.py` has a front (`cutaway._facade`).

python tools/write_stubs.py            # write
python tools/write_stubs.py --check    # exit code 1, with their names, where some are not up to date
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import cutaway
from cutaway import _facade

SOURCE = Path(cutaway.__file__).parent
HEAD = "# Written by tools/write_stubs.py from __init__.py.\n\n"


def stubs() -> dict[Path, str]:
    """Path of each stub -> its text."""
    for path in sorted(SOURCE.rglob("__init__.py")):
        if "_facade" in path.read_text(encoding="utf-8"):
            importlib.import_module(".".join(("cutaway", *path.parent.relative_to(SOURCE).parts)))
    return {_folder(package) / "__init__.pyi": stub(package) for package in sorted(_facade.homes)}


def stub(package: str) -> str:
    """The text of one stub: an import of each name from its home, and `__all__`."""
    home = _facade.homes[package]
    lines = [f"from {module} import {name} as {name}\n" for name, module in sorted(home.items(), key=_by_module)]
    if package == "cutaway":
        lines.append("\n__version__: str\n")
    return HEAD + "".join(lines) + "\n__all__ = [\n" + "".join(f'    "{name}",\n' for name in sorted(home)) + "]\n"


def _by_module(item: tuple[str, str]) -> tuple[str, int, str]:
    """As ruff sorts imports: constants, classes, functions."""
    name, module = item
    return module, 0 if name.isupper() else 1 if name[0].isupper() else 2, name


def _folder(package: str) -> Path:
    return SOURCE.joinpath(*package.split(".")[1:])


def main() -> int:
    """Write, or check and tell."""
    stale = {path: text for path, text in stubs().items() if not path.exists() or path.read_text() != text}
    unowned = set(SOURCE.rglob("*.pyi")) - set(stubs())
    if "--check" in sys.argv[1:]:
        for path in (*stale, *unowned):
            print(f"{path.relative_to(SOURCE.parent)} is not up to date: run python tools/write_stubs.py")
        return 1 if stale or unowned else 0
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")
    for path in unowned:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
