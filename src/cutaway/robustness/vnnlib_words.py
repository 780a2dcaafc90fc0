"""Words and lists of VNN-LIB text, and what each kind of list may hold (`vnnlib`)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cutaway.robustness.vnnlib_forms import (
    Conjunction,
    Linear,
)

_WORD = r"[^\s();\[\]]+"


TOKEN = re.compile(
    rf"\(\s*([<>]=?)\s+({_WORD}(?:\[[^\]()]*\])?)\s+({_WORD})\s*\)\s*"  # the usual limit, read without opening a list
    rf"|\s+|;[^\n]*|([()])|({_WORD}(?:\s*\[[^\]()]*\])?|\[[^\]()]*\])|(.)"
)


COMMANDS = {"assert": "assert", "declare-const": "const", "declare-network": "network"}


_COMPARISONS = dict.fromkeys(("<=", ">=", "<", ">", "=", "=="), "compare")


FORMULAS = {"and": "and", "or": "or"} | _COMPARISONS


_TERMS = dict.fromkeys(("+", "-", "*"), "term")


INSIDE = {
    "top": (COMMANDS, "declare-const, declare-network or assert"),
    **dict.fromkeys(("assert", "and", "or"), (FORMULAS, "<=, >=, <, >, =, and, or")),
    **dict.fromkeys(("compare", "term"), (_TERMS, "a number, a variable, +, - or *")),
    "network": (
        dict.fromkeys(("declare-input", "declare-output"), "side"),
        "declare-input or declare-output with name, type, shape",
    ),
}


@dataclass(slots=True)
class Word:
    """A token with where it stands."""

    text: str
    line: int
    column: int


@dataclass(slots=True)
class List:
    """A list that is open: what its first word makes of it, where it opens, and what was in it so far."""

    line: int = 1
    column: int = 1
    kind: str = "new"
    head: str = ""
    words: list[str] = field(default_factory=list)
    parts: int = 0
    total: Linear = field(default_factory=Linear)
    branches: list[Conjunction] = field(default_factory=list)
