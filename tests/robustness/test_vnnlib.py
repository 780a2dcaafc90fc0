"""The VNN-LIB reader: both versions, disjunctions, and errors with line and column."""

from __future__ import annotations

import gzip

import pytest
import torch

from cutaway.errors import FileError, InputError
from cutaway.robustness.vnnlib import parse_vnnlib, read_vnnlib

HEAD = """; a property
(declare-const X_0 Real)
(declare-const X_1 Real)
(declare-const Y_0 Real)
(declare-const Y_1 Real)
(assert (<= X_0 1.5))
(assert (>= X_0 -1e-1))
(assert (<= 0.25 X_1))
(assert (<= X_1 0.5))
"""


def test_conjunction_of_outputs():
    query = parse_vnnlib(HEAD + "(assert (<= Y_0 Y_1))\n(assert (>= Y_1 3.5))")
    (clause,) = query.clauses
    assert clause.lower.tolist() == [-0.1, 0.25] and clause.upper.tolist() == [1.5, 0.5]
    assert clause.matrix.tolist() == [[1.0, -1.0], [0.0, -1.0]] and clause.limits.tolist() == [0.0, -3.5]


def test_disjunctions_multiply_and_inputs_may_differ():
    query = parse_vnnlib(
        HEAD
        + "(assert (or (and (<= X_0 0) (>= Y_0 1)) (and (>= X_0 1) (<= Y_0 0))))\n(assert (or (<= Y_1 0) (>= Y_1 9)))"
    )
    assert len(query.clauses) == 4
    assert [c.upper[0].item() for c in query.clauses] == [0.0, 0.0, 1.5, 1.5]
    assert query.clauses[3].matrix.tolist() == [[1.0, 0.0], [0.0, -1.0]]


def test_linear_terms():
    (clause,) = parse_vnnlib(HEAD + "(assert (>= (+ (* 2 Y_0) (- Y_1) 1) (- 3)))").clauses
    assert clause.matrix.tolist() == [[-2.0, 1.0]] and clause.limits.tolist() == [4.0]


def test_version_2_gives_the_same_question():
    text = """(vnnlib-version <2.0>)
(declare-network N (declare-input In float32 [1, 2]) (declare-output Out float32 [2]))
(assert (and (<= In[0,0] 1.5) (>= In[0,0] -0.1) (<= In[0,1] 0.5) (>= In[0,1] 0.25)))
(assert (<= Out[0] Out[1]))"""
    assert parse_vnnlib(text).fingerprint == parse_vnnlib(HEAD + "(assert (<= Y_0 Y_1))").fingerprint


def test_fingerprint_sees_numbers_not_words():
    first = parse_vnnlib(HEAD + "(assert (<= Y_0 Y_1))")
    assert first.fingerprint == parse_vnnlib("; other comment\n" + HEAD + "(assert  (>= Y_1 Y_0))").fingerprint
    assert first.fingerprint != parse_vnnlib(HEAD.replace("1.5", "1.6") + "(assert (<= Y_0 Y_1))").fingerprint


def test_gzip_and_missing_files(tmp_path):
    path = tmp_path / "p.vnnlib.gz"
    path.write_bytes(gzip.compress((HEAD + "(assert (<= Y_0 Y_1))").encode()))
    assert len(read_vnnlib(path).clauses) == 1
    with pytest.raises(FileError, match="no such file"):
        read_vnnlib(tmp_path / "other.vnnlib")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(FileError, match="unreadable"):
        read_vnnlib(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "(assert (<= Y_0 X_0))", r"line 10, column 9; found a constraint that mixes inputs and outputs"),
        (HEAD + "(assert (<= X_0 X_1))", r"line 10, column 9; found a constraint on several inputs"),
        (
            HEAD + "(assert (<= X_7 1))",
            r"line 10, column 13; found 'X_7'; expected a number or a declared variable \(2 inputs",
        ),
        (HEAD + "(assert (<= Y_0 1)", r"line 10, column 1; found '\(' that is never closed"),
        (HEAD + "(assert (<= Y_0 1)))", r"line 10, column 20; found '\)' that closes nothing"),
        (HEAD + "(assert (!= Y_0 1))", r"line 10, column 10; found '!='"),
        (HEAD + "(assert (<= Y_0))", r"line 10, column 9; found <= with 1 arguments"),
        (HEAD + "(assert (<= (* Y_0 Y_1) 1))", r"line 10, column 13; found a product of two variables"),
        (HEAD + "(assert (<= Y_0 inf))", r"line 10, column 17; found inf; expected a finite number"),
        (HEAD + "(forall x)", r"line 10, column 1; found 'forall'"),
        (HEAD + "(declare-const Y_0 Real)", r"line 10, column 1; found Y_0 declared twice"),
        (HEAD + "(declare-const Z_0 Real)", r"line 10, column 1; found declare-const Z_0 Real"),
        (HEAD + "x", r"line 10, column 1; found 'x'; expected '\('"),
        (HEAD.replace("(assert (<= X_1 0.5))", "") + "(assert (<= Y_0 1))", r"found input 1 without a upper limit"),
        (HEAD + "(assert (>= X_1 2))(assert (<= Y_0 1))", r"found input 1 with lower limit 2.0 above upper limit 0.5"),
        ("", r"line 1, column 1; found no declared inputs or outputs"),
    ],
)
def test_errors_name_line_and_column(text, message):
    with pytest.raises(InputError, match=message):
        parse_vnnlib(text)


def test_strict_comparisons_are_closed():
    weak, strict = (parse_vnnlib(HEAD + f"(assert ({op} Y_0 1))").clauses[0] for op in ("<=", "<"))
    assert torch.equal(weak.limits, strict.limits) and torch.equal(weak.matrix, strict.matrix)


def test_an_empty_branch_of_an_or_drops_out_and_all_of_them_are_refused():
    empty, other = "(and (>= X_0 9) (>= Y_0 1))", "(and (>= X_0 1) (<= Y_0 0))"
    (clause,) = parse_vnnlib(HEAD + f"(assert (or {empty} {other}))").clauses
    assert clause.lower.tolist() == [1.0, 0.25] and clause.matrix.tolist() == [[1.0, 0.0]]
    with pytest.raises(InputError, match="no branch of an 'or' that any input meets"):
        parse_vnnlib(HEAD + f"(assert (or {empty} {empty}))")
