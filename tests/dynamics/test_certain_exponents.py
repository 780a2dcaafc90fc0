"""Exponents that are said are true, or said to be bounds: closed forms, symmetries, finite variances."""

import ast
import json
import math

import mpmath
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import gamma

from cutaway.cli import run
from cutaway.dynamics import generative_exponent, information_exponent, leap, sample_complexity
from cutaway.dynamics.certain import Certain
from cutaway.dynamics.closed_form import closed_form_of, is_zero
from cutaway.dynamics.exact_numbers import PI, Exact, exact_root
from cutaway.dynamics.hermite import normalized_hermites, product_rule
from cutaway.dynamics.hermite_tensors import hermite_tensors
from cutaway.dynamics.ranges import values_between
from cutaway.dynamics.targets import target
from cutaway.errors import InputError

FINITE = """
z^50; exp(0.2499*z^2); exp(z^2/5)*exp(-z^2); exp(-z^4); exp(z-z^4); exp(-exp(z)); sqrt(exp(z^2/4)); exp(abs(z)^2/8)
exp(relu(z)^2/8); exp(z1*z2/3); exp(z1^2/5)*exp(z2^2/5); tanh(exp(z^2)); sin(exp(z^2)); log(1+exp(z^2)); 2^(z^2/4)
exp(log(1+z^2)); abs(z)^-0.4; abs(z)^-0.49; z/abs(z)^1.2; log(abs(z)); log(abs(z-1)); 1/(1+z^2); 1/(2+sin(z))
exp(-1/z^2); tanh(1/z); sign(z)/abs(z)^0.3; exp(sqrt(z^4+1)/8); exp(z^2/2)-exp(z^2/2)+z; He3(exp(z^2/20)); exp(He2(z)/5)
exp(sin(z)*z^2/5); 1.5^z; 1/exp(z); exp(abs(z)); exp(z1+z2)*relu(z1); 1/(abs(z1)*abs(z2))^0.3
"""
INFINITE = """
exp(z^2/2); exp(z^2/4); exp(0.25*z^2); exp(z^2/8)^2; exp(z^2/5)*exp(z^2/5); exp(z^4); exp(z^3); exp(exp(z))
sqrt(exp(z^2/2)); exp(z^2/2)+exp(-z^2/2); 1/exp(-z^2/2); exp(-z^2)^-1; z^2*exp(z^2/4); abs(z)*exp(z^2/3); exp(abs(z)^2/2)
exp(z1*z2); exp(z1*z2/2); 2^(z^2); exp(He2(z)/4); He3(exp(z^2/10)); sign(z)*exp(z^2/2); exp(z^2/2)*sin(z); 1/z; 1/(z-pi)
abs(z)^-0.5; 1/sqrt(abs(z)); 1/z1+z2; exp(z^2/2)+tanh(z); exp((z1+z2)^2/8); exp(0.3*z^2)/abs(z)^0.2; sqrt(2)*exp(z^2/4)
"""
UNTOLD = "exp(z^2/4)/(1+z^2); 1/sin(z); exp(1/abs(z)); exp(-log(abs(z))); relu(exp(z^2/2)); exp(sin(z)*z^2/3)"


def expressions(text):
    return [each.strip() for line in text.strip().splitlines() for each in line.split(";")]


@pytest.mark.parametrize(
    ("link", "finite"),
    [(e, f) for text, f in ((FINITE, True), (INFINITE, False), (UNTOLD, None)) for e in expressions(text)],
)
def test_a_variance_is_known_to_be_finite_or_not(link, finite):
    known = Certain(target(link), 2)
    assert known.finite_variance() is finite
    if finite:
        known.check_variance()
        return
    says = "whose square has no integral;" if finite is False else "it is not known that their square has an integral;"
    for exponent in (information_exponent, leap):
        with pytest.raises(InputError, match=f"{says} expected a finite variance for Gaussian fields"):
            exponent(link)


LEAVES = st.sampled_from(
    ["z", "z^2", "exp(z/3)", "sin(2*z)", "cos(z/2)", "exp(-z^2)", "exp(z^2/30)", "0.3", "pi", "he3(z)"]
)
CLOSED = st.recursive(
    LEAVES, lambda e: st.builds("({}){}({})".format, e, st.sampled_from("+-*"), e), max_leaves=4
).filter(lambda text: "z" in text)
OPEN = st.recursive(
    st.sampled_from(["z", "z^2", "abs(z)", "tanh(z)", "relu(z)", "cos(3*z)", "1", "sign(z)", "exp(-z^2)", "He3(z)"]),
    lambda e: st.one_of(
        st.builds("({}){}({})".format, e, st.sampled_from("+-*"), e),
        st.builds("{}({})".format, st.sampled_from(["sin", "erf", "tanh", "abs", "relu"]), e),
    ),
    max_leaves=4,
).filter(lambda text: "z" in text)


def by_quadrature(link, degrees=6):
    points, weights = product_rule(1, 24_001, cut=12.0)
    values = np.asarray(target(link)(points))
    return normalized_hermites(points[:, 0], degrees) @ (weights * values), math.sqrt(float(values**2 @ weights))


@given(CLOSED)
@settings(max_examples=60, deadline=None)
def test_closed_forms_agree_with_quadrature(link):
    known = Certain(target(link), 6)
    if known.finite_variance() is not True:
        return
    assert known.closed
    found, size = by_quadrature(link)
    for degree in range(7):
        exact = float(known.coefficient((degree,)))
        assert exact == pytest.approx(found[degree], abs=1e-9 * (size + 1))
        assert (known.is_zero(degree) is True) <= (abs(found[degree]) < 1e-9 * (size + 1))
        assert (known.is_zero(degree) is True) == (exact == 0 or abs(exact) < 1e-50 * size)
    assert float(known.variance()) == pytest.approx(size**2 - found[0] ** 2, rel=1e-8, abs=1e-9 * size**2 + 1e-15)


@given(OPEN)
@settings(max_examples=60, deadline=None)
def test_what_is_said_to_be_0_is_0_and_what_is_said_not_to_be_is_not(link):
    known = Certain(target(link), 6)
    assert known.finite_variance() is True
    found, size = by_quadrature(link)
    for degree in range(1, 7):
        if known.is_zero(degree) is True:
            assert abs(found[degree]) < 1e-9 * (size + 1), (link, degree)
        if known.is_zero(degree) is False:
            assert abs(found[degree]) > 1e-12 or float(known.size(degree)) < 1e-20, (link, degree)


@given(OPEN, st.floats(-6, 6))
@settings(max_examples=100, deadline=None)
def test_values_stay_in_their_range(link, place):
    low, high = values_between(ast.parse(link.replace("^", "**"), mode="eval").body)
    assert low <= float(target(link)(np.array([[place]]))[0]) <= high


EXACT = [  # value, first strong one, words
    ("sin(7*z)", 1, None, "1, weak (size 2.3e-10); none up to 8 is above 0.001"),
    ("sin(40*z)", 1, None, "1, weak (size below 1e-300); none up to 8 is above 0.001"),
    ("cos(7*z)", 2, None, "2, weak (size 1.1e-09); none up to 8 is above 0.001"),
    ("sin(3*pi*z)", 1, None, "1, weak (size 6.9e-19); none up to 8 is above 0.001"),
    ("1e-10*z+z^2-1", 1, 2, "1, weak (size 7.1e-11); 2 is the first above 0.001"),
    ("1e-200*z+He4(z)", 1, 4, "1, weak (size 2.0e-201); 4 is the first above 0.001"),
    ("exp(60*z)", 1, None, "1, weak (size below 1e-300); none up to 8 is above 0.001"),
    ("sin(z)-exp(-0.5)*z", 3, 3, "3"),  # the first coefficient of the sine is taken off exactly
    ("sin(z)-exp(-1/2)*z+1e-30*z", 1, 3, "1, weak (size 3.9e-30); 3 is the first above 0.001"),
    ("z**2*exp(-z**2)", 4, 4, "4"),
    ("he3(z)", 3, 3, "3"),
    ("relu(z)-z/2", 2, 2, "2"),
    ("relu(z)-z/2+1e-9*z", 1, 2, "1, weak (size 3.3e-09); 2 is the first above 0.001"),
    ("sign(z1*z2*z3)", 3, 3, "3"),
    ("tanh(z1+z2)*z3", 2, 2, "2"),
    ("log(abs(z))", 2, 2, "2"),
    ("z^9-36*z^7+378*z^5-1260*z^3+945*z", None, None, "above 8: every degree up to it is 0"),
    ("z*0+2", None, None, "none: the target does not vary"),
]


@pytest.mark.parametrize(("link", "value", "strong", "words"), EXACT)
def test_exponents_that_are_known(link, value, strong, words):
    found = information_exponent(link)
    assert (found.value, found.strong, found.words) == (value, strong, words)
    assert found.at_least == (value or 9)


@pytest.mark.parametrize(
    ("link", "value", "least", "degrees"),
    [
        ("tanh(z)-0.60570550960216*z", 3, 1, "degree 1 below"),
        ("tanh(z)-0.60570550960216*z+1e-11*z^2-1e-11", 2, 1, "degree 1 below"),
        ("tanh(z)-0.60570550960216*z+relu(z^3)*1e-14", 3, 1, "degrees 1, 2 below"),
        ("tanh(z1)-0.60570550960216*z1+He3(z2)", 3, 1, "degree 1 below"),
    ],
)
def test_an_exponent_below_which_something_is_not_told_from_0_is_a_bound(link, value, least, degrees):
    found, steps = information_exponent(link), leap(link)
    assert (found.value, found.at_least, found.exact) == (value, least, False)
    assert found.words.startswith(f"at most {value}") and f"({degrees} " in found.words
    assert found.words.endswith("not known to be 0)") and found.open == tuple(range(1, value))[: len(found.open)]
    assert steps.words.startswith(f"at most {value}") and steps.at_least == 1


@pytest.mark.parametrize("power", [0.25, 0.4, 0.49])
def test_a_power_that_is_integrable_is_integrated(power):
    """E|z|^p = 2^(p/2) Gamma((p + 1) / 2) / sqrt(pi)."""

    def moment(p):
        return 2 ** (p / 2) * gamma((p + 1) / 2) / math.sqrt(math.pi)

    found = information_exponent(f"abs(z)^-{power}")
    assert (found.value, found.exact) == (2, True)
    assert found.sizes[1] == pytest.approx((moment(2 - power) - moment(-power)) ** 2 / 2, rel=1e-9)
    assert found.scale**2 == pytest.approx(moment(-2 * power) - moment(-power) ** 2, rel=1e-5)


@pytest.mark.parametrize(
    ("link", "says"),
    [
        ("abs(z-1)^-0.4", "infinite at z1 = 1, as .*; expected such values at 0 alone"),
        ("abs(z1)^-0.4*z2", "infinite at z1 = 0, as .*; expected such values at 0 alone, and of one projection"),
        ("relu(z)*exp(20*z)", "found a square whose mass lies beyond"),
    ],
)
def test_what_is_not_computed_is_said(link, says):
    with pytest.raises(InputError, match=says):
        information_exponent(link)


@given(st.floats(-2, 2), st.floats(0.05, 2))
@settings(max_examples=20, deadline=None)
@example(low=0.789512, gap=1.226545 - 0.789512)  # z phi(z) is the same at both: every difference of grids is 1e-9
@example(low=0.37457, gap=1.815871 - 0.37457)
def test_jumps_between_the_nodes_are_no_coefficients(low, gap):
    """1 - 2 [low < z < high]: E f z = 2 (phi(high) - phi(low)). What is left of it by a line is error alone."""
    high = low + gap
    first = 2 * (math.exp(-(high**2) / 2) - math.exp(-(low**2) / 2)) / math.sqrt(2 * math.pi)
    link = f"sign(z-({low!r}))*sign(z-({high!r}))"
    tensors, errors = hermite_tensors(target(link), 1)
    off = abs(float(tensors[1][0]) - first)
    assert off <= 2.001 * math.sqrt(errors[1]) + 1e-12
    left = information_exponent(f"{link}-({first!r})*z", max_degree=1)
    assert left.value is None, "5e-5 of rounding and of grid is no coefficient"


@pytest.mark.parametrize(
    ("link", "value", "least"),
    [
        ("z^2", 2, 2),
        ("abs(z)", 2, 2),
        ("sign(z1*z2*z3)", 3, 3),
        ("z1*z2*z3", 2, 2),
        ("z2-gauss", 4, 2),
        ("He3(z)", 1, 1),
    ],
)
def test_generative_exponents_below_which_nothing_is_hidden_are_exact(link, value, least):
    found = generative_exponent(link, num_samples=600_000, max_degree=4)
    assert (found.value, found.at_least) == (value, least)
    assert found.words == (str(value) if value == least else "at most 4 (degree 2 below 2e-03, not known to be 0)")


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("z1+z1*z2", "1"),
        ("z1+He3(z2)", "3"),
        ("1000*He3(z2)+z1", "3"),
        ("z1+He3(z2)+1e-8*z2", "at most 2, by weak steps; 3 of what is above 0.001"),
        ("He2(z1)+z1*z2*z3", "2"),
        ("relu(z1)+relu(z2)", "at most 2"),
        ("z1+He7(z2)+1e-13*z1*z2", "at most 7"),
    ],
)
def test_a_leap_is_exact_or_a_bound(link, words):
    assert leap(link).words == words


def test_a_lower_bound_on_samples_rests_on_the_least_exponent():
    assert sample_complexity(4, 4, 4)["low_degree_bound"] == "d^2"
    assert sample_complexity(4, 4, 4, generative_at_least=2)["low_degree_bound"] == "d^1"


def test_the_command_says_what_is_a_bound(capsys):
    assert run(["theory", "exponent", "tanh(z)-0.60570550960216*z", "--samples", "20000"]) == 0
    text = capsys.readouterr().out
    assert "information exponent  at most 3 (degree 1 below " in text and "leap                  at most 3\n" in text
    assert "samples, one-pass SGD at most d^2\n" in text
    assert run(["theory", "exponent", "z2-gauss", "--samples", "200000", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["exponent"], told["generative_exponent"]) == (4, 4)
    assert told["at_least"] == {"exponent": 4, "leap": 4, "generative_exponent": 2}
    assert run(["theory", "exponent", "exp(z^2/4)"]) == 2
    assert "values whose square has no integral" in capsys.readouterr().err


def test_exact_numbers_are_0_only_where_nothing_is_left():
    two, eight = exact_root(ast.literal_eval("2") + Exact.of(0).rational), exact_root(Exact.of(8).rational)
    assert two is not None and eight is not None
    assert not (two * Exact.of(2) + -eight) and (two * two).rational == 2 and (two * PI).parts
    assert Exact.of(0.1) + Exact.of(0.2) == Exact.of(0.3), "as they are written, not as float64 holds them"
    with mpmath.workdps(50):
        assert abs((PI * eight).value().real - mpmath.pi * mpmath.sqrt(8)) < 1e-45
    sums = {Exact.of(1): Exact.of(1), Exact.of(2): Exact.of(-1)}
    assert is_zero(sums) is False and is_zero({}) is True
    half_turns = {PI * Exact.of(0, 1): Exact.of(1), -(PI * Exact.of(0, 1)): Exact.of(-1)}  # e^(i pi) - e^(-i pi)
    assert is_zero(half_turns) is None
    assert closed_form_of(ast.parse("(z1+z2+z3+z4+z5+z6)**30", mode="eval").body, 6) is None, "too many terms"
