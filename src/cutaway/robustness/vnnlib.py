"""VNN-LIB files, version 1.0 as VNN-COMP uses it and 2.0, as a `Query`; errors name line and column.

Read of 1.0: `declare-const X_i / Y_i Real`, `assert` with `<=`, `>=`, `<`, `>`, `=`, `and`, `or`, sums, differences and
products with numbers. Of 2.0: `vnnlib-version`, `declare-network` with one `declare-input` and one `declare-output`
(any names, shapes flattened in row-major order) and the same assertions over `X[i, j]`. A strict comparison is read as
its closure, which can only turn "certified" into "unknown" or "falsified", never the reverse. Assertions are brought
into disjunctive form; every conjunction must bound every input from both sides.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import torch

from cutaway.errors import FileError, InputError
from cutaway.robustness.query import Clause, Query

MAX_CLAUSES = 100_000
_TOKEN = re.compile(r"\s+|;[^\n]*|[()]|<[0-9.]+>|[^\s();\[\]]+(?:\s*\[[^\]]*\])?|\[[^\]]*\]")


@dataclass(frozen=True, slots=True)
class Word:
    """A token with where it stands."""

    text: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Group:
    """A parenthesised list with where it opens."""

    items: tuple[Word | Group, ...]
    line: int
    column: int


@dataclass(slots=True)
class _Linear:
    """sum of coefficients * variables + constant."""

    terms: dict[tuple[str, int], float] = field(default_factory=dict)
    constant: float = 0.0


@dataclass(slots=True)
class _Names:
    """Declared variables: names in the file to ("X" or "Y", index)."""

    table: dict[str, tuple[str, int]] = field(default_factory=dict)
    shapes: dict[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: {"X": 0, "Y": 0})


Atom = tuple[_Linear, Group]
"""linear <= 0, and the text it came from."""


def read_vnnlib(path: str | Path) -> Query:
    """The question in a .vnnlib or .vnnlib.gz file. Raises FileError (not there, damaged) or InputError (line,
    column)."""
    path = Path(path)
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = data.decode()
    except FileNotFoundError as error:
        raise FileError(str(path), found="no such file", expected="a .vnnlib or .vnnlib.gz file") from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise FileError(str(path), found=f"unreadable ({error})", expected="VNN-LIB text, plain or gzip") from error
    return parse_vnnlib(text, source=str(path))


def parse_vnnlib(text: str, source: str = "VNN-LIB text") -> Query:
    """See `read_vnnlib`."""
    return _Parser(text, source).query()


class _Parser:
    def __init__(self, text: str, source: str) -> None:
        self.text, self.source, self.names = text, source, _Names()

    def fail(self, where: Word | Group, found: str, expected: str, remedy: str = "") -> InputError:
        return InputError(
            f"{self.source}, line {where.line}, column {where.column}", found=found, expected=expected, remedy=remedy
        )

    def words(self):
        line, start, position = 1, 0, 0
        while position < len(self.text):
            match = _TOKEN.match(self.text, position)
            here = Word(self.text[position], line, position - start + 1)
            if match is None:
                raise self.fail(here, repr(here.text), "a VNN-LIB token")
            piece = match.group()
            if not piece.isspace() and not piece.startswith(";"):
                yield Word(piece, here.line, here.column)
            if "\n" in piece:
                line += piece.count("\n")
                start = position + piece.rindex("\n") + 1
            position = match.end()

    def groups(self) -> list[Group]:
        open_: list[tuple[list[Word | Group], Word]] = []
        done: list[Group] = []
        for word in self.words():
            if word.text == "(":
                open_.append(([], word))
            elif word.text == ")":
                if not open_:
                    raise self.fail(word, "')' that closes nothing", "'('")
                items, where = open_.pop()
                group = Group(tuple(items), where.line, where.column)
                (open_[-1][0] if open_ else done).append(group)  # type: ignore[arg-type]
            elif not open_:
                raise self.fail(word, repr(word.text), "'('")
            else:
                open_[-1][0].append(word)
        if open_:
            raise self.fail(open_[-1][1], "'(' that is never closed", "')'", "the file may be cut short")
        return done

    def query(self) -> Query:
        forms: list[list[list[Atom]]] = []
        for group in self.groups():
            head = self.head(group)
            if head == "declare-const":
                self.declare_const(group)
            elif head in ("declare-network", "declare-input", "declare-output"):
                self.declare_network(group)
            elif head == "assert":
                if len(group.items) != 2 or not isinstance(group.items[1], Group):
                    raise self.fail(group, "assert without one formula", "(assert (...))")
                forms.append(self.formula(group.items[1]))
            elif head not in ("vnnlib-version", "set-logic", "set-info", "check-sat"):
                raise self.fail(group, repr(head), "declare-const, declare-network or assert")
        return self.compile(forms)

    def head(self, group: Group) -> str:
        if not group.items or not isinstance(group.items[0], Word):
            raise self.fail(group, "an empty list or '(('", "a command or an operator")
        return group.items[0].text

    def declare_const(self, group: Group) -> None:
        words = [item.text if isinstance(item, Word) else "(" for item in group.items]
        match = re.fullmatch(r"([XY])_(\d+)", words[1]) if len(words) == 3 else None
        if match is None:
            raise self.fail(group, " ".join(words), "(declare-const X_i Real) or (declare-const Y_i Real)")
        kind, index = match.group(1), int(match.group(2))
        if words[1] in self.names.table:
            raise self.fail(group, f"{words[1]} declared twice", "one declaration of each variable")
        self.names.table[words[1]] = (kind, index)
        self.names.counts[kind] = max(self.names.counts[kind], index + 1)

    def declare_network(self, group: Group) -> None:
        for item in group.items[1:] if self.head(group) == "declare-network" else (group,):
            if not isinstance(item, Group):
                continue
            kind = {"declare-input": "X", "declare-output": "Y"}.get(self.head(item))
            words = [w.text for w in item.items if isinstance(w, Word)]
            if kind is None or len(words) < 3:
                raise self.fail(item, repr(self.head(item)), "declare-input or declare-output with name, type, shape")
            if self.names.counts[kind]:
                raise self.fail(item, "a second " + self.head(item)[8:], "a network with one input and one output")
            spelled = re.fullmatch(r"(\S+?)\s*(\[.*\])", words[-1])  # a type may stick to its shape
            shape_text = spelled.group(2) if spelled else words[-1]
            shape = tuple(int(n) for n in re.findall(r"\d+", shape_text))
            self.names.shapes[words[1]] = (kind, shape)
            self.names.counts[kind] = math.prod(shape)

    def variable(self, word: Word) -> tuple[str, int] | None:
        found = self.names.table.get(word.text)
        if found is not None:
            return found
        match = re.fullmatch(r"([^\s\[]+)\s*(?:\[([^\]]*)\])?", word.text)
        if match is None or match.group(1) not in self.names.shapes:
            return None
        kind, shape = self.names.shapes[match.group(1)]
        index = tuple(int(n) for n in re.findall(r"\d+", match.group(2) or ""))
        if len(index) != len(shape) or any(i >= n for i, n in zip(index, shape)):
            raise self.fail(word, word.text, f"an index inside shape {list(shape)}")
        flat = 0
        for i, n in zip(index, shape):
            flat = flat * n + i
        return kind, flat

    def formula(self, group: Group) -> list[list[Atom]]:
        """Disjunctive form: a list of conjunctions."""
        head = self.head(group)
        if head in ("and", "or"):
            parts = []
            for item in group.items[1:]:
                if not isinstance(item, Group):
                    raise self.fail(item, repr(item.text), f"a formula inside {head!r}")
                parts.append(self.formula(item))
            return [c for part in parts for c in part] if head == "or" else self.product(parts, group)
        if head not in ("<=", ">=", "<", ">", "=", "=="):
            raise self.fail(group.items[0], repr(head), "<=, >=, <, >, =, and, or")  # type: ignore[arg-type]
        if len(group.items) != 3:
            raise self.fail(group, f"{head} with {len(group.items) - 1} arguments", "two arguments")
        left, right = (self.term(item) for item in group.items[1:])
        less = (self.minus(left, right), group)
        more = (self.minus(right, left), group)
        return [[less]] if head in ("<=", "<") else [[more]] if head in (">=", ">") else [[less, more]]

    def product(self, parts: list[list[list[Atom]]], where: Group) -> list[list[Atom]]:
        result: list[list[Atom]] = [[]]
        for part in parts:
            if len(result) * len(part) > MAX_CLAUSES:
                raise self.fail(where, "too many combinations of 'or'", f"at most {MAX_CLAUSES} conjunctions")
            result = [a + b for a in result for b in part]
        return result

    def minus(self, left: _Linear, right: _Linear) -> _Linear:
        terms = dict(left.terms)
        for key, value in right.terms.items():
            terms[key] = terms.get(key, 0.0) - value
        return _Linear({k: v for k, v in terms.items() if v != 0.0}, left.constant - right.constant)

    def term(self, item: Word | Group) -> _Linear:
        if isinstance(item, Word):
            return self.leaf(item)
        head, parts = self.head(item), [self.term(i) for i in item.items[1:]]
        if head not in ("+", "-", "*") or not parts:
            raise self.fail(item, repr(head), "a number, a variable, +, - or *")
        if head == "*":
            return self.times(item, parts)
        total = parts[0] if head == "+" or len(parts) > 1 else self.minus(_Linear(), parts[0])
        for part in parts[1:]:
            total = self.minus(total, part if head == "-" else self.minus(_Linear(), part))
        return total

    def leaf(self, word: Word) -> _Linear:
        found = self.variable(word)
        if found is not None:
            return _Linear({found: 1.0})
        try:
            number = float(word.text)
        except ValueError:
            known = f"{self.names.counts['X']} inputs and {self.names.counts['Y']} outputs declared"
            remedy = "declare it above, or correct the spelling"
            raise self.fail(word, repr(word.text), f"a number or a declared variable ({known})", remedy) from None
        if not math.isfinite(number):
            raise self.fail(word, word.text, "a finite number")
        return _Linear(constant=number)

    def times(self, where: Group, parts: list[_Linear]) -> _Linear:
        total = _Linear(constant=1.0)
        for part in parts:
            if total.terms and part.terms:
                raise self.fail(where, "a product of two variables", "linear constraints")
            scalar, other = (part.constant, total) if not part.terms else (total.constant, part)
            total = _Linear({k: v * scalar for k, v in other.terms.items()}, other.constant * scalar)
        return total

    def compile(self, forms: list[list[list[Atom]]]) -> Query:
        start = Group((), 1, 1)
        if not self.names.counts["X"] or not self.names.counts["Y"]:
            raise self.fail(start, "no declared inputs or outputs", "declare-const X_i and Y_i")
        fixed = [form[0] for form in forms if len(form) == 1]
        choices = self.product([form for form in forms if len(form) > 1], start)
        common = [atom for form in fixed for atom in form]
        base = self.limits()
        self.narrow(base, common)
        clauses = tuple(c for choice in choices if (c := self.clause(base, common, choice)) is not None)
        if not clauses:
            raise self.fail(start, "no branch of an 'or' that any input meets", "a region that is not empty")
        return Query(
            clauses=clauses, num_inputs=self.names.counts["X"], num_outputs=self.names.counts["Y"], source=self.source
        )

    def limits(self) -> tuple[list[float], list[float]]:
        count = self.names.counts["X"]
        return [-math.inf] * count, [math.inf] * count

    def narrow(self, box: tuple[list[float], list[float]], atoms: list[Atom]) -> list[Atom]:
        """Apply the input limits among the atoms; gives back the others (about outputs)."""
        rest = []
        for linear, where in atoms:
            kinds = {kind for kind, _ in linear.terms}
            if kinds == {"X", "Y"}:
                raise self.fail(
                    where,
                    "a constraint that mixes inputs and outputs",
                    "limits on one input, or outputs only",
                    "have the network give the inputs it is compared with as outputs too",
                )
            if "X" not in kinds:
                rest.append((linear, where))
                continue
            if len(linear.terms) != 1:
                raise self.fail(
                    where,
                    "a constraint on several inputs",
                    "lower and upper limits of single inputs",
                    "put a linear layer that makes these inputs from others in front of the network",
                )
            ((_, index), slope), *_ = linear.terms.items()
            edge = -linear.constant / slope
            if slope > 0:
                box[1][index] = min(box[1][index], edge)
            else:
                box[0][index] = max(box[0][index], edge)
        return rest

    def clause(self, base, common: list[Atom], choice: list[Atom]) -> Clause | None:
        box = (list(base[0]), list(base[1]))
        atoms = [a for a in common if not any(k == "X" for k, _ in a[0].terms)] + self.narrow(box, choice)
        for i, (low, high) in enumerate(zip(*box)):
            if not (math.isfinite(low) and math.isfinite(high)):
                raise InputError(
                    self.source,
                    found=f"input {i} without a {'lower' if low == -math.inf else 'upper'} limit",
                    expected="every input bounded from both sides",
                    remedy=f"add (assert ({'>=' if low == -math.inf else '<='} X_{i} ...))",
                )
        matrix = torch.zeros(len(atoms), self.names.counts["Y"], dtype=torch.float64)
        limits = torch.zeros(len(atoms), dtype=torch.float64)
        for row, (linear, _) in enumerate(atoms):
            for (_, index), slope in linear.terms.items():
                matrix[row, index] = slope
            limits[row] = -linear.constant
        lower, upper = (torch.tensor(side, dtype=torch.float64) for side in box)
        wrong = (lower > upper).nonzero()
        if len(wrong) and all(low <= high for low, high in zip(*base)):
            return None  # an empty branch of an "or" holds nowhere
        if len(wrong):
            i = int(wrong[0])
            raise InputError(
                self.source,
                found=f"input {i} with lower limit {box[0][i]!r} above upper limit {box[1][i]!r}",
                expected="lower <= upper",
                remedy="correct the limits: the region is empty",
            )
        return Clause(lower=lower, upper=upper, matrix=matrix, limits=limits)
