"""`make mutate`: the faults it plants are single changes that compile, and leave alone what no test could see."""

from __future__ import annotations

import ast
from pathlib import Path

from tools.mutation.faults import faults
from tools.mutation.nearest import nearest

SOURCE = '''
def f(x: int = 3) -> "1 + 2":
    """1 < 2."""
    if x < 1 and not x == 4:
        raise ValueError(f"{x + 1} is wrong")
    total = min(x, 2) - 0.5
    total += 1
    return -total
'''


def test_every_kind_of_fault_is_drawn_and_nothing_that_no_test_sees():
    found = {(fault.old, fault.text) for fault in faults("a.py", SOURCE)}
    assert {
        ("<", "<="), ("<", ">"), ("and", "or"), ("not x == 4", "(x == 4)"), ("==", "!="), ("min", "max"), ("-", "+"),
        ("0.5", "1.0"), ("0.5", "0.25"), ("total += 1", "pass"), ("-total", "(total)"), ("3", "4"), ("3", "2"),
    } <= found  # fmt: skip
    assert not [pair for pair in found if "wrong" in pair[0] or pair == ("+", "-")]


def test_a_fault_is_one_change_that_compiles():
    for fault in faults("a.py", SOURCE):
        changed = fault.applied(SOURCE)
        ast.parse(changed)
        assert changed != SOURCE and len(changed) - len(SOURCE) == len(fault.text) - len(fault.old)
        assert SOURCE.splitlines()[fault.line - 1] != changed.splitlines()[fault.line - 1]
    assert len({fault.id for fault in faults("a.py", SOURCE)}) == len(faults("a.py", SOURCE))


def test_the_nearest_tests_of_a_file_are_its_own():
    root = Path(__file__).parents[1]
    assert nearest("evidence/null.py", root / "src" / "cutaway", root / "tests")[0] == "evidence/test_null.py"
    assert "robustness/test_verify.py" in nearest(
        "robustness/verify/relu_split.py", root / "src" / "cutaway", root / "tests"
    )
