"""VNN-LIB files, version 1.0 as VNN-COMP uses it and 2.0, as a `Query`; errors name line and column.

Read of 1.0: `declare-const X_i / Y_i Real`, `assert` with `<=`, `>=`, `<`, `>`, `=`, `and`, `or`, sums, differences and
products with numbers. Of 2.0: `vnnlib-version`, `declare-network` with one `declare-input` and one `declare-output`
(any names, shapes flattened in row-major order) and the same assertions over `X[i, j]`. A strict comparison is read as
its closure, which can only turn "certified" into "unknown" or "falsified", never the reverse. Assertions are brought
into disjunctive form (`vnnlib_forms`); every conjunction must bound every input from both sides.

The text passes once, a piece at a time; of it only the lists still open are kept, and the numbers of the limits.
"""

from __future__ import annotations

import gzip
import io
import math
import re
import zlib
from pathlib import Path
from typing import TextIO

from cutaway.engines.budget import default_budget
from cutaway.errors import FileError, InputError
from cutaway.robustness.query import Query
from cutaway.robustness.vnnlib_forms import (
    MAX_CLAUSES,
    Conjunction,
    Linear,
    Refusal,
    check_budget,
    conjoin,
    query_of,
)
from cutaway.robustness.vnnlib_names import Names
from cutaway.robustness.vnnlib_words import COMMANDS, FORMULAS, INSIDE, TOKEN, List, Word

DEEPEST_LIST = 200  # lists inside each other
_PIECE, _LONGEST = 1 << 20, 1 << 24  # characters read at once, and of one token
_LIMIT, _BRACKET, _PLAIN, _WRONG = 3, 4, 5, 6  # the last group of a match
COMMANDS |= dict.fromkeys(("declare-input", "declare-output"), "side")
COMMANDS |= dict.fromkeys(("vnnlib-version", "set-logic", "set-info", "check-sat"), "skip")


def read_vnnlib(path: str | Path, budget: int | None = None) -> Query:
    """The question in a .vnnlib or .vnnlib.gz file of at most `budget` bytes, unpacked and as numbers (by default half
    of the free memory).

    Raises FileError (not there, damaged), InputError (line, column) or BudgetError. Cost: 4 CPU seconds for a million
    limits."""
    path = Path(path)
    try:
        with (
            gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file,
            io.TextIOWrapper(file, encoding="utf-8", newline="") as text,
        ):
            return _read(text, str(path), budget)
    except FileNotFoundError as error:
        raise FileError(
            str(path), found="no such file", expected="a .vnnlib or .vnnlib.gz file", remedy="check the path"
        ) from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise FileError(
            str(path),
            found=f"unreadable ({error})",
            expected="VNN-LIB text, plain or gzip",
            remedy="copy the file again",
        ) from error


def parse_vnnlib(text: str, source: str = "VNN-LIB text", budget: int | None = None) -> Query:
    """See `read_vnnlib`. Raises `InputError` (line, column) and `BudgetError` as that does."""
    return _read(io.StringIO(text, newline=""), source, budget)


def _read(stream: TextIO, source: str, budget: int | None) -> Query:
    reader = _Reader(source, default_budget() if budget is None else budget)
    buffer, carried, taken = "", 0, 0
    while piece := stream.read(_PIECE):
        taken += len(piece)
        check_budget(taken, reader.budget, source, "text of more than")
        buffer = buffer[carried:] + piece
        carried = reader.take(buffer, buffer.rfind(")") + 1)
        if len(buffer) - carried > _LONGEST:
            raise InputError(
                source,
                found=f"{_LONGEST} characters without ')'",
                expected="VNN-LIB text",
                remedy="check that the file is a property and whole",
            )
    reader.take(buffer[carried:], len(buffer) - carried)
    return reader.query()


class _Reader:
    """A stack of open lists. `take` gets the text piece by piece; positions count from the start of the file."""

    def __init__(self, source: str, budget: int) -> None:
        self.source, self.budget, self.names = source, budget, Names()
        self.top = List(kind="top")
        self.open = [self.top]
        self.common, self.choices = Conjunction(), [Conjunction()]
        self.buffer, self.counted, self.line, self.column = "", 0, 1, 1

    def take(self, buffer: str, stop: int) -> int:
        """Read the tokens that end by `stop`, after which nothing is known; gives back where the next one begins."""
        self.buffer, self.counted = buffer, 0
        end = 0
        for match in TOKEN.finditer(buffer):
            if match.end() > stop:
                break
            end, kind = match.end(), match.lastindex
            if kind == _LIMIT:
                if not self.limit(*match.group(1, 2, 3)):
                    self.unusual_limit(match)
            elif kind == _PLAIN:
                self.word(self.at(match.start(), match.group(_PLAIN)))
            elif kind == _BRACKET:
                self.bracket(self.at(match.start(), match.group(_BRACKET)))
            elif kind == _WRONG:
                here = self.at(match.start(), match.group())
                raise self.fail(here, repr(here.text), "a VNN-LIB token")
        self.at(end)
        return end

    def at(self, position: int, text: str = "") -> Word:
        """The word at a position of the buffer; positions come in order."""
        lines = self.buffer.count("\n", self.counted, position)
        if lines:
            self.line += lines
            self.column = position - self.buffer.rfind("\n", self.counted, position)
        else:
            self.column += position - self.counted
        self.counted = position
        return Word(text, self.line, self.column)

    def fail(self, where: Word | List, found: str, expected: str, remedy: str = "") -> InputError:
        return InputError(
            f"{self.source}, line {where.line}, column {where.column}", found=found, expected=expected, remedy=remedy
        )

    def limit(self, comparison: str, name: str, number: str) -> bool:
        """Take "variable <= number" inside a formula; False where it is anything else."""
        list_, code = self.open[-1], self.names.table.get(name)
        if code is None or list_.kind not in ("assert", "and", "or"):
            return False
        try:
            value = float(number)
        except ValueError:
            return False
        if not math.isfinite(value):
            return False
        list_.parts += 1
        for branch in self.targets(list_):
            branch.limit(code, comparison[0] == "<", value)
        return True

    def unusual_limit(self, match: re.Match) -> None:
        """The same text, word by word."""
        self.bracket(self.at(match.start(), "("))
        for group in (1, 2, 3):
            self.word(self.at(match.start(group), match.group(group)))
        self.bracket(self.at(match.end(3), ")"))

    def targets(self, list_: List) -> list[Conjunction]:
        """The conjunctions of an open formula that one more inequality belongs to."""
        if list_.kind != "or":
            return list_.branches
        new = [Conjunction()]
        self.alternatives(list_, new)
        return new

    def alternatives(self, list_: List, more: list[Conjunction]) -> None:
        list_.branches += more
        if len(list_.branches) > MAX_CLAUSES:
            raise self.fail(list_, "too many combinations of 'or'", f"at most {MAX_CLAUSES} conjunctions")

    def bracket(self, word: Word) -> None:
        """Open or close a list."""
        if word.text == "(":
            self.open.append(List(word.line, word.column))
            if len(self.open) > DEEPEST_LIST + 1:
                raise self.fail(word, f"lists nested more than {DEEPEST_LIST} deep", "a formula written by a tool")
        elif len(self.open) == 1:
            raise self.fail(word, "')' that closes nothing", "'('")
        else:
            self.close(self.open.pop(), self.open[-1])

    def word(self, word: Word) -> None:
        """A name, a number or an operator in the innermost list."""
        list_ = self.open[-1]
        if list_.kind == "new":
            self.begin(list_, self.open[-2], word)
        elif list_.kind in ("compare", "term"):
            self.operand(list_, self.leaf(word))
        elif list_.kind in ("const", "side"):
            list_.words.append(word.text)
        elif list_.kind in ("and", "or"):
            raise self.fail(word, repr(word.text), f"a formula inside {list_.head!r}")
        elif list_.kind == "assert":
            raise self.fail(list_, "assert without one formula", "(assert (...))")
        elif list_.kind == "top":
            raise self.fail(word, repr(word.text), "'('")

    def begin(self, list_: List, outer: List, word: Word) -> None:
        """What a list is, by its first word and the list that it is in."""
        list_.head, list_.words = word.text, [word.text]
        if outer.kind == "new":
            raise self.fail(outer, "an empty list or '(('", "a command or an operator")
        if outer.kind not in INSIDE:  # of no meaning to us
            outer.words.append("(")
            list_.kind = "skip"
            return
        known, expected = INSIDE[outer.kind]
        if word.text not in known:
            raise self.fail(word if known is FORMULAS else list_, repr(word.text), expected)
        list_.kind = known[word.text]
        list_.branches = [Conjunction()] if list_.kind in ("assert", "and") else []

    def close(self, list_: List, outer: List) -> None:
        """Give what a list means to the list that it is in."""
        if list_.kind == "new":
            raise self.fail(list_, "an empty list or '(('", "a command or an operator")
        try:
            if list_.kind in ("and", "or"):
                self.formula(list_.branches, outer)
            elif list_.kind == "compare":
                self.formula([self.inequality(list_)], outer)
            elif list_.kind == "term":
                self.operand(outer, self.term(list_))
            elif list_.kind == "const":
                self.names.declare(list_.words)
            elif list_.kind == "side":
                self.names.declare_array(list_.words)
            elif list_.kind == "assert":
                self.asserted(list_)
        except Refusal as why:
            raise self.fail(list_, why.found, why.expected, why.remedy) from None

    def formula(self, branches: list[Conjunction], outer: List) -> None:
        outer.parts += 1
        if outer.kind == "or":
            self.alternatives(outer, branches)
            return
        try:
            outer.branches = conjoin(outer.branches, branches, self.budget, self.source)
        except Refusal as why:
            raise self.fail(outer, why.found, why.expected) from None

    def asserted(self, list_: List) -> None:
        if list_.parts != 1:
            raise Refusal("assert without one formula", "(assert (...))")
        if len(list_.branches) == 1:
            self.common.extend(list_.branches[0])
        else:
            self.choices = conjoin(self.choices, list_.branches, self.budget, self.source)

    def inequality(self, list_: List) -> Conjunction:
        """The comparison as linear <= 0."""
        if list_.parts != 2:
            raise Refusal(f"{list_.head} with {list_.parts} arguments", "two arguments")
        list_.total.tidy()
        result = Conjunction()
        if list_.head[0] != ">":
            result.at_most_zero(list_.total)
        if list_.head[0] != "<":
            negated = Linear()
            negated.add(list_.total, -1.0)
            result.at_most_zero(negated)
        return result

    def operand(self, list_: List, value: Linear) -> None:
        """One more number or variable in a comparison, a sum or a product."""
        list_.parts += 1
        if list_.head == "*" and list_.parts > 1:
            if list_.total.terms and value.terms:
                raise self.fail(list_, "a product of two variables", "linear constraints")
            list_.total.multiply(value)
        else:
            list_.total.add(value, 1.0 if list_.parts == 1 or list_.head == "+" else -1.0)

    def term(self, list_: List) -> Linear:
        if not list_.parts:
            raise Refusal(repr(list_.head), "a number, a variable, +, - or *")
        if list_.head == "*":
            return list_.total
        list_.total.tidy()
        if list_.head == "+" or list_.parts > 1:
            return list_.total
        negated = Linear()
        negated.add(list_.total, -1.0)
        return negated

    def leaf(self, word: Word) -> Linear:
        try:
            found = self.names.find(word.text)
        except Refusal as why:
            raise self.fail(word, why.found, why.expected) from None
        if found is not None:
            return Linear({found: 1.0})
        try:
            number = float(word.text)
        except ValueError:
            counts = self.names.counts
            known = f"{counts['X']} inputs and {counts['Y']} outputs declared"
            remedy = "declare it above, or correct the spelling"
            raise self.fail(word, repr(word.text), f"a number or a declared variable ({known})", remedy) from None
        if not math.isfinite(number):
            raise self.fail(word, word.text, "a finite number")
        return Linear(constant=number)

    def query(self) -> Query:
        """What was asserted, once the text is over."""
        if len(self.open) > 1:
            raise self.fail(self.open[-1], "'(' that is never closed", "')'", "the file may be cut short")
        inputs, outputs = self.names.counts["X"], self.names.counts["Y"]
        if not inputs or not outputs:
            raise self.fail(self.top, "no declared inputs or outputs", "declare-const X_i and Y_i")
        try:
            return query_of(self.common, self.choices, inputs, outputs, self.source, self.budget)
        except Refusal as why:
            raise self.fail(self.top, why.found, why.expected) from None
