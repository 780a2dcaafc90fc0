"""One file a question: parameters, measurement, picture and words. A file's name is its instrument's, `_` for `-`.

    from cutaway.instruments import Accuracy, LocalComplexity

A class is imported when it is first asked for; its name is its file's in capitals.
"""

from pathlib import Path as _Path

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        f"{file.parent.name}.{file.stem}": "".join(part.capitalize() for part in file.stem.split("_"))
        for file in _Path(__file__).parent.glob("*/[!_]*.py")
    },
)
