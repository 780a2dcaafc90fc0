"""The faults that are planted: each is one change of a few characters that a person might make.

A comparison loses or gains its equality or turns round, an operator becomes its opposite, a number moves by one or
doubles, a sign flips, `and` becomes `or`, `not` goes, `min` becomes `max`, True becomes False, a statement is left out.
Annotations, docstrings, texts of errors and what only types need are left alone.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

COMPARED = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"), ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="), ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"), ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
}  # fmt: skip
REVERSED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
ARITHMETIC = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"), ast.FloorDiv: ("//", "*"),
    ast.Pow: ("**", "*"), ast.Mod: ("%", "+"), ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&"), ast.MatMult: ("@", "+"),
}  # fmt: skip
TWINS = {
    "min": "max", "max": "min", "amin": "amax", "amax": "amin", "minimum": "maximum", "maximum": "minimum",
    "any": "all", "all": "any", "floor": "ceil", "ceil": "floor", "mean": "median",
    "argmin": "argmax", "argmax": "argmin", "zeros_like": "ones_like", "clamp_min": "clamp_max",
    "lower": "upper", "upper": "lower",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """One change: in `file` (relative to src), characters `start` to `end` become `text`. line: for a reader."""

    file: str
    line: int
    start: int
    end: int
    old: str
    text: str

    @property
    def id(self) -> str:
        """Stable while the file up to and around the change is the same."""
        return hashlib.sha256(f"{self.file}|{self.start}|{self.old}|{self.text}".encode()).hexdigest()[:12]

    def told(self) -> str:
        return f"{self.file}:{self.line}  {self.old.strip()!r} -> {self.text.strip()!r}"

    def applied(self, source: str) -> str:
        """The file with the fault in it."""
        return source[: self.start] + self.text + source[self.end :]


def faults(file: str, source: str) -> list[Fault]:
    """Every fault of a file that still compiles."""
    found = []
    for start, end, text in _changes(source):
        fault = Fault(file, source.count("\n", 0, start) + 1, start, end, source[start:end], text)
        try:
            compile(fault.applied(source), file, "exec")
        except SyntaxError:
            continue
        found.append(fault)
    return found


def _changes(source: str) -> Iterator[tuple[int, int, str]]:
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line.encode()))
    raw = source.encode()

    def at(line: int, column: int) -> int:
        return len(raw[: starts[line - 1] + column].decode())

    def span(node: ast.AST) -> tuple[int, int]:
        return at(node.lineno, node.col_offset), at(node.end_lineno, node.end_col_offset)  # pyright: ignore

    def between(left: ast.AST, right: ast.AST, symbol: str, texts: list[str]) -> Iterator[tuple[int, int, str]]:
        begin, end = span(left)[1], span(right)[0]
        k = source.find(symbol, begin, end)
        if k >= 0:
            for text in texts:
                yield k, k + len(symbol), text

    for node in _live(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            for left, op, right in zip(sides, node.ops, sides[1:]):
                symbol, other = COMPARED[type(op)]
                yield from between(left, right, symbol, [other, *([REVERSED[symbol]] if symbol in REVERSED else [])])
        elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC and not isinstance(node.left, ast.JoinedStr):
            symbol, other = ARITHMETIC[type(node.op)]
            yield from between(node.left, node.right, symbol, [other])
        elif isinstance(node, ast.BoolOp):
            symbol, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
            for left, right in zip(node.values, node.values[1:]):
                yield from between(left, right, symbol, [other])
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
            begin, end = span(node)
            yield begin, end, f"({source[span(node.operand)[0] : end]})"
        elif isinstance(node, ast.Constant):
            begin, end = span(node)
            if isinstance(node.value, bool):
                yield begin, end, str(not node.value)
            elif isinstance(node.value, int):
                yield begin, end, str(node.value + 1)
                if node.value > 0:
                    yield begin, end, str(node.value - 1)
            elif isinstance(node.value, float) and node.value:
                yield begin, end, repr(2 * node.value)
                yield begin, end, repr(node.value / 2)
        elif isinstance(node, ast.Call):
            name = node.func
            if isinstance(name, ast.Attribute) and name.attr in TWINS:
                end = span(name)[1]
                yield end - len(name.attr), end, TWINS[name.attr]
            elif isinstance(name, ast.Name) and name.id in TWINS:
                yield *span(name), TWINS[name.id]
        elif isinstance(node, ast.AugAssign) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
            yield *span(node), "pass"


def _live(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes whose change could be seen: not annotations, texts of errors, constants of a class's description."""
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        yield node
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "type_params"):
                continue
            if isinstance(node, ast.Raise) or (
                isinstance(node, ast.AnnAssign) and "ClassVar" in ast.dump(node.annotation)
            ):
                continue
            children = value if isinstance(value, list) else [value]
            stack += [c for c in children if isinstance(c, ast.AST)]
