"""VNN-LIB of any size and shape: what a random property means, in pieces of any size, and what is refused."""

from __future__ import annotations

import gzip
import operator
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.errors import BudgetError, CutawayError, FileError, InputError
from cutaway.robustness import vnnlib
from cutaway.robustness.vnnlib import parse_vnnlib, read_vnnlib

INPUTS, OUTPUTS = 3, 2
COMPARE = {"<=": operator.le, "<": operator.le, ">=": operator.ge, ">": operator.ge, "=": operator.eq}
NAMES = [f"X_{i}" for i in range(INPUTS)] + [f"Y_{i}" for i in range(OUTPUTS)]
DECLARED = "".join(f"(declare-const {name} Real)\n" for name in NAMES)

numbers = st.integers(-4, 4).map(lambda n: n / 2)
outputs = st.sampled_from(NAMES[INPUTS:])
limits = st.tuples(st.sampled_from(list(COMPARE)), st.sampled_from(NAMES), numbers)
turned = st.tuples(st.sampled_from(list(COMPARE)), numbers, st.sampled_from(NAMES))
linear = st.recursive(
    numbers | outputs,
    lambda inner: (
        st.tuples(st.just("*"), numbers, inner)
        | st.tuples(st.sampled_from("+-"), inner)
        | st.tuples(st.sampled_from("+-"), inner, inner)
        | st.tuples(st.just("+"), inner, inner, inner)
    ),
    max_leaves=4,
)
formulas = st.recursive(
    limits | turned | st.tuples(st.sampled_from(list(COMPARE)), linear, linear),
    lambda inner: st.lists(inner, min_size=1, max_size=3).flatmap(
        lambda parts: st.sampled_from(["and", "or"]).map(lambda head: (head, *parts))
    ),
    max_leaves=8,
)
spaces = st.sampled_from([" ", "\n", "  ", "\t ", " ; a (comment\n", "\r\n"])


def value(term, point) -> float:
    """A term at a point, by its definition."""
    if not isinstance(term, tuple):
        return point[term] if isinstance(term, str) else term
    head, *parts = [term[0], *(value(part, point) for part in term[1:])]
    if head == "*":
        return float(np.prod(parts))
    return sum(parts) if head == "+" else parts[0] - sum(parts[1:]) if len(parts) > 1 else -parts[0]


def holds(formula, point) -> bool:
    """A formula at a point, strict comparisons closed."""
    head, *parts = formula
    if head in ("and", "or"):
        return (all if head == "and" else any)(holds(part, point) for part in parts)
    return COMPARE[head](*(value(part, point) for part in parts))


def written(formula, space) -> str:
    if not isinstance(formula, tuple):
        return str(formula)
    return f"({space()}{space().join(written(part, space) for part in formula)}{space()})"


def met(query, x, y) -> bool:
    return any(bool((c.lower <= x).all() and (x <= c.upper).all()) and float(c.margins(y)) <= 0 for c in query.clauses)


@settings(max_examples=120, deadline=None)
@given(st.lists(formulas, min_size=1, max_size=3), st.data())
def test_a_random_property_means_the_same_at_every_point_in_whatever_layout(asserted, data):
    box = tuple((side, name, edge) for name in NAMES[:INPUTS] for side, edge in (("<=", 2.0), (">=", -2.0)))
    whole = ("and", *box, *asserted)
    text = DECLARED + "".join(f"(assert {written(f, lambda: data.draw(spaces))})" for f in (*box, *asserted))
    query, told = None, ""
    try:
        query = parse_vnnlib(text)
    except InputError as why:
        told = str(why)
    assert query is not None or "above upper limit" in told or "no branch of an 'or'" in told  # nothing meets it
    generator = np.random.default_rng(0)
    for point in generator.integers(-5, 6, (50, len(NAMES))) / 2:
        right = holds(whole, dict(zip(NAMES, point)))
        x, y = torch.from_numpy(point[:INPUTS]), torch.from_numpy(point[INPUTS:])
        assert right == (query is not None and met(query, x, y))


PROPERTY = (
    DECLARED
    + "; several (kinds of\r\n(assert (and (<= X_0 1) (>= X_0 0)\n (<= X_1 1.25) (>= X_1 -1e-1)))\n"
    + "(assert (or (and (<= X_2 1) (>= X_2 0) (<= Y_0 3)) (and\n(= X_2 5) (<= (+ Y_0 (* 2 Y_1)) 1))))\n"
)


@pytest.mark.parametrize("size", [1, 2, 7, 30])
@pytest.mark.parametrize("end", ["", "(assert (<= X_9 1))", "x", "(assert (<= Y_0 1)", "(assert [", "; end"])
def test_a_file_read_in_pieces_of_any_size_says_the_same_or_names_the_same_place(size, end, monkeypatch):
    def told():
        try:
            return parse_vnnlib(PROPERTY + end).fingerprint
        except InputError as why:
            return str(why)

    whole = told()
    monkeypatch.setattr(vnnlib, "_PIECE", size)
    assert told() == whole


def test_elements_of_an_array_may_be_spelled_with_spaces(monkeypatch):
    text = """(declare-network N (declare-input In float32[1, 2]) (declare-output Out float32 [2]))
(assert (and (<= In[0,0] 1) (>= In [0, 0] 0) (<= In
[0,1] 1) (>= In[ 0 , 1 ] 0) (<= Out[1] 5) (<= Out[1] 6)))"""
    whole = parse_vnnlib(text)
    monkeypatch.setattr(vnnlib, "_PIECE", 1)
    assert parse_vnnlib(text).fingerprint == whole.fingerprint
    assert whole.clauses[0].limits.tolist() == [5.0, 6.0]


def test_memory_follows_the_numbers_not_the_words():
    inputs, clauses = 200, 100
    names = "".join(f"(declare-const X_{i} Real)" for i in range(inputs)) + "(declare-const Y_0 Real)"
    sides = " ".join(f"(>= X_{i} 0.125) (<= X_{i} 0.25)" for i in range(inputs))
    text = names + "(assert (or " + "\n".join(f"(and {sides} (<= Y_0 {k}))" for k in range(clauses)) + "))"
    tracemalloc.start()
    query = parse_vnnlib(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(query.clauses) == clauses
    assert peak < 16 * 1.5 * (2 * inputs * clauses) + 16 * inputs * clauses + 8e6  # arrays, box, one piece of text


def test_a_bomb_is_refused_once_it_has_unpacked_to_the_budget(tmp_path):
    path = tmp_path / "bomb.vnnlib.gz"
    path.write_bytes(gzip.compress(b"(assert (<= X_0 1))\n" * 2_000_000, compresslevel=1))
    with pytest.raises(BudgetError, match="text of more than 1.05 MB; expected at most 500 KB"):
        read_vnnlib(path, budget=500_000)


def test_a_damaged_archive_is_told_after_any_number_of_whole_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(vnnlib, "_PIECE", 64)
    path = tmp_path / "p.vnnlib.gz"
    packed = bytearray(gzip.compress(PROPERTY.encode()))
    packed[-8] ^= 255  # the checksum
    path.write_bytes(packed)
    with pytest.raises(FileError, match="unreadable"):
        read_vnnlib(path)


def many(parts: int, limits: int) -> str:
    inside = " ".join(["(<= X_0 1)"] * limits)
    return "(assert (and " + f"(or {f'(and {inside}) ' * parts})" * 2 + "))"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(assert " + "(and " * 300, r"line 6, column 1004; found lists nested more than 200 deep"),
        ("(assert (<= " + "(+ " * 300, r"found lists nested more than 200 deep"),
        ("(set-info " + "(" * 10_000, r"found lists nested more than 200 deep"),
        ("(declare-const X_999999999999 Real)" + "(assert (<= X_0 1))", r"memory budget"),
        ("(declare-const Y_999999999 Real)" + "(assert (<= Y_0 1))", r"memory budget"),
        ("(declare-const X_" + "9" * 5000 + " Real)", r"line 6, column 1; found declare-const"),
        (many(300, 300), r"its conjunctions take 8\d\d MB; expected at most 100 MB"),
        (many(400, 1), r"line 6, column 9; found too many combinations of 'or'"),
        ("(assert (or " + "(<= Y_0 1)" * 100_001 + "))", r"line 6, column 9; found too many combinations of 'or'"),
        ("(assert (or))", r"found no branch of an 'or' that any input meets"),
        ("(assert (<= (* 1e300 1e300 Y_0) 1))", r"line 6, column 9; found numbers whose sum or product overflows"),
        ("(assert (<= Y_0 1) (<= Y_0 2))", r"line 6, column 1; found assert without one formula"),
        ("(assert Y_0)", r"line 6, column 1; found assert without one formula"),
        ("(assert ((<= Y_0 1)))", r"line 6, column 9; found an empty list or '\(\('"),
        ("(assert (and Y_0))", r"line 6, column 14; found 'Y_0'; expected a formula inside 'and'"),
        ("(assert (<= (<= Y_0 1) 1))", r"line 6, column 13; found '<='; expected a number, a variable"),
        ("(<= Y_0 1)", r"line 6, column 1; found '<='; expected declare-const"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_place(text, message):
    box = "".join(f"(assert (and (<= X_{i} 1) (>= X_{i} 0)))" for i in range(INPUTS))
    with pytest.raises(CutawayError, match=message):
        parse_vnnlib(DECLARED + text + box, budget=100_000_000)


@pytest.mark.parametrize("index", ["[-1]", "[2]", "[0,0]", "[]", "[a]", "[1e0]"])
def test_an_index_that_names_no_element_is_refused(index):
    text = "(declare-input In float32 [2])\n(declare-output Out float32 [1])\n"
    with pytest.raises(InputError, match=r"line 3, column 13; found In.*; expected an index inside shape \[2\]"):
        parse_vnnlib(text + f"(assert (<= In{index} 1))")


def test_a_text_that_never_closes_a_list_is_refused_before_all_of_it_is_held(monkeypatch):
    monkeypatch.setattr(vnnlib, "_LONGEST", 1000)
    monkeypatch.setattr(vnnlib, "_PIECE", 100)
    with pytest.raises(InputError, match="1000 characters without '\\)'"):
        parse_vnnlib("(assert " + " " * 5000)
