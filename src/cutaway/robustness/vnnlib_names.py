"""The variables that a VNN-LIB file declares: `X_i` and `Y_i` one by one, or (2.0) arrays with names and shapes."""

from __future__ import annotations

import math
import re

from cutaway.robustness.vnnlib_forms import Refusal

_SINGLE = re.compile(r"([XY])_([0-9]{1,12})")
_ARRAY = re.compile(r"([^\s\[]+)\s*(?:\[([^\]]*)\])?")
_NUMBERS = re.compile(r"\s*(?:[0-9]{1,12}\s*(?:,\s*[0-9]{1,12}\s*)*)?")
_KEPT = 1_000_000  # spellings of array elements that are looked up only once


class Names:
    """`table`: a variable's spelling to its code (input i: i, output j: -1 - j); `counts`: how many inputs and
    outputs."""

    def __init__(self) -> None:
        self.table: dict[str, int] = {}
        self.shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
        self.counts = {"X": 0, "Y": 0}

    def declare(self, words: list[str]) -> None:
        """(declare-const NAME Real). Raises Refusal."""
        match = _SINGLE.fullmatch(words[1]) if len(words) == 3 else None
        if match is None:
            raise Refusal(" ".join(words), "(declare-const X_i Real) or (declare-const Y_i Real)")
        if words[1] in self.table:
            raise Refusal(f"{words[1]} declared twice", "one declaration of each variable")
        kind, index = match.group(1), int(match.group(2))
        self.table[words[1]] = _code(kind, index)
        self.counts[kind] = max(self.counts[kind], index + 1)

    def declare_array(self, words: list[str]) -> None:
        """(declare-input NAME TYPE SHAPE), or -output. Raises Refusal."""
        if len(words) < 3:
            raise Refusal(repr(words[0]), "declare-input or declare-output with name, type, shape")
        kind = "X" if words[0] == "declare-input" else "Y"
        if self.counts[kind]:
            raise Refusal(f"a second {words[0][8:]}", "a network with one input and one output")
        spelled = re.fullmatch(r"(\S+?)\s*\[(.*)\]", words[-1], re.DOTALL)  # a type may stick to its shape
        shape = _numbers(spelled.group(2) if spelled else words[-1].strip("[]"))
        if shape is None:
            raise Refusal(words[-1], "a shape such as [1, 5]")
        self.shapes[words[1]] = (kind, shape)
        self.counts[kind] = math.prod(shape)

    def find(self, text: str) -> int | None:
        """The code of a variable; None for another word. Raises Refusal for an index outside its array."""
        code = self.table.get(text)
        if code is not None:
            return code
        match = _ARRAY.fullmatch(text)
        if match is None or match.group(1) not in self.shapes:
            return None
        kind, shape = self.shapes[match.group(1)]
        index = _numbers(match.group(2) or "")
        if index is None or len(index) != len(shape) or any(i >= n for i, n in zip(index, shape)):
            raise Refusal(text, f"an index inside shape {list(shape)}")
        flat = 0
        for i, n in zip(index, shape):
            flat = flat * n + i
        if len(self.table) < _KEPT:
            self.table[text] = _code(kind, flat)
        return _code(kind, flat)


def _code(kind: str, index: int) -> int:
    return index if kind == "X" else -1 - index


def _numbers(text: str) -> tuple[int, ...] | None:
    return tuple(int(n) for n in text.split(",") if n.strip()) if _NUMBERS.fullmatch(text) else None
