"""Exponents against the table of the specification, and bad links."""

import re

import numpy as np
import pytest

from cutaway.dynamics.data_exponents import exponents_of_data, hermite_pair_kernels
from cutaway.dynamics.exponents import (
    generative_exponent,
    information_exponent,
    sample_complexity,
)
from cutaway.dynamics.hermite import hermite, normalized_hermites
from cutaway.dynamics.hermite_tensors import hermite_tensors
from cutaway.dynamics.staircase import leap
from cutaway.dynamics.targets import target
from cutaway.errors import InputError

TABLE = [
    ("relu", 1, 1),
    ("sign", 1, 1),
    ("He2", 2, 2),
    ("cos2z", 2, 2),
    ("He3", 3, 1),
    ("He4", 4, 2),
    ("tanh-He3", 1, 1),
    ("z2-gauss", 4, 4),
]


@pytest.mark.parametrize(("link", "information", "generative"), TABLE)
def test_exponent_table(link, information, generative):
    assert information_exponent(link).value == information
    assert generative_exponent(link, num_samples=1_000_000).value == generative


@pytest.mark.parametrize(("link", "generative"), [("parity2", 2), ("product3", 2), ("parity3", 3)])
def test_multi_index_generative_exponents(link, generative):
    assert generative_exponent(link, num_samples=600_000, max_degree=3).value == generative


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("z1+z1*z2", 1),
        ("z1*z2*z3", 3),
        ("z1+He3(z2)", 3),
        ("z1+z1*He3(z2)", 3),
        ("He2(z1)+z1*z2*z3", 2),
        ("z1", 1),
        ("z1+He7(z2)", 7),
        ("z1+He8(z2)", 8),
        ("z1+z2", 1),
        ("z1+0*z2", 1),
        ("He2(z1)+He3(z1)*z2", 2),
    ],
)
def test_leap(link, expected):
    assert leap(link).value == expected


@pytest.mark.parametrize(
    ("link", "degree", "named"),
    [("z1+He7(z2)", 6, "direction z2"), ("z1+z2+He7((z1-z2)/sqrt(2))", 5, r"direction [+]0.71 z1 -0.71 z2")],
)
def test_a_direction_that_is_not_seen_leaves_no_leap(link, degree, named):
    found = leap(link, max_degree=degree)
    assert found.value is None
    assert found.legs == (1,)
    assert re.fullmatch(named + f" not seen up to degree {degree}: no leap can be told", found.words)


def test_leap_tells_what_decides_each_step_and_its_error():
    found = leap("2*z1+z1*He2(z2)")
    assert found.legs == (1, 2)
    # z1 He2(z2) has squared norm 2 in three places alike; the place with z1 as its last leg remains
    assert found.sizes == pytest.approx([4.0, 2.0 / 3.0], rel=1e-6)
    assert found.errors.max() < 1e-9
    assert found.unseen.shape == (0, 2)


def test_directions_found_on_draws_cover_a_turned_target():
    assert leap("He3((z1+z2+z3+z4)/2)", max_degree=4).value == 3


def test_leap_does_not_depend_on_the_basis():
    def turned(fields):
        u, v = (fields[..., 0] + fields[..., 1]) / np.sqrt(2), (fields[..., 0] - fields[..., 1]) / np.sqrt(2)
        return u + u * v

    assert leap(turned, num_directions=2).value == 1
    assert leap("z1*z2").value == 2


@pytest.mark.parametrize(
    ("link", "expected"),
    [("z+2000", 1), ("He2(z1)+2000", 2), ("He3(z)-1e7", 3), ("z1*z2*z3*z4+2000", 4), ("z*0+2000", None)],
)
def test_an_offset_changes_no_exponent(link, expected):
    found = information_exponent(link, max_degree=4)
    assert found.value == expected
    assert leap(link, max_degree=4).value == expected
    if link == "z+2000":
        assert found.sizes[0] == pytest.approx(1.0, rel=1e-6)
        assert found.errors.max() < 1e-12


WEAK = [
    # c_k of sin(wz), cos(wz) is w^k exp(-w^2 / 2) / sqrt(k!), in closed form; of sign(sin(4z)) 16/pi exp(-8) to 1e-7
    ("sin(5*z)", 1, 5, 5 * np.exp(-12.5) * np.sqrt(2)),
    ("cos(5*z)", 2, 6, 25 / np.sqrt(2) * np.exp(-12.5) * np.sqrt(2)),
    ("z**3-3*z+0.002*z", 1, 3, 0.002 / np.sqrt(6.000004)),
]


@pytest.mark.parametrize(("link", "value", "strong", "size"), WEAK)
def test_a_coefficient_that_is_known_to_be_there_counts_however_weak(link, value, strong, size):
    found, steps = information_exponent(link), leap(link)
    assert (found.value, found.strong) == (steps.value, steps.strong) == (value, strong)
    assert np.sqrt(found.sizes[value - 1]) / found.scale == pytest.approx(size, rel=1e-4)
    assert found.words == f"{value}, weak (size {size:.1e}); {strong} is the first above 0.001" and found.exact


def test_a_jump_is_integrated_finely_enough_to_tell_a_weak_coefficient():
    found = information_exponent("sign(sin(4*z))")
    assert found.value == found.strong == 1
    assert np.sqrt(found.sizes[0]) == pytest.approx(16 / np.pi * np.exp(-8), rel=0.03)
    assert information_exponent("sign(z**2-0.7)").value == 2, "odd degrees are zero by symmetry"


def test_nothing_up_to_the_degree_is_strong():
    assert information_exponent("sin(5*z)", max_degree=4).words.endswith("none up to 4 is above 0.001")


def test_a_logarithm_is_integrated_through_its_singularity():
    """E[log|z| (z^2 - 1)] = 1 by parts, so c_2^2 = 1/2; the variance of log|z| is pi^2 / 8."""
    found = information_exponent("log(abs(z))")
    assert found.value == 2 and found.sizes[1] == pytest.approx(0.5, abs=1e-4)
    assert found.scale**2 == pytest.approx(np.pi**2 / 8, rel=1e-3)


@pytest.mark.parametrize("link", ["1/z", "1/sqrt(abs(z))", "1/z1 + z2"])
def test_a_target_of_infinite_variance_is_refused(link):
    with pytest.raises(InputError, match="whose square has no integral; .* tanh"):
        information_exponent(link)


def test_hermite_tensors_add_up_to_the_energy():
    tensors, errors = hermite_tensors(target("z1**2*z2 + z2"), 4)
    assert sum(float(np.sum(t**2)) for t in tensors) == pytest.approx(6.0, rel=1e-4)
    assert max(errors) < 1e-8


def test_no_exponent_is_guessed_for_what_is_not_significant():
    found = information_exponent("He8(z)", max_degree=4)
    assert (found.value, found.at_least, found.words) == (None, 5, "above 4: every degree up to it is 0")
    assert "not significant up to degree 2" in information_exponent("sign(sin(40*z))+z**0", max_degree=2).words
    noisy = generative_exponent("He4(z)", num_samples=4000, noise=400.0)
    assert noisy.value is None


def test_hermite_polynomials_are_orthonormal():
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    table = normalized_hermites(nodes, 6)
    assert np.allclose((table * weights / weights.sum()) @ table.T, np.eye(7), atol=1e-10)
    assert np.allclose(hermite(nodes, 3), nodes**3 - 3 * nodes)


def test_links_that_cannot_be_used_are_named():
    with pytest.raises(InputError, match="NaN or infinity"):
        information_exponent("log(z)")
    with pytest.raises(InputError, match="found 'open'"):
        target("open(z)")
    with pytest.raises(InputError, match="'Attribute'"):
        target("z.real")
    with pytest.raises(InputError, match="no valid expression"):
        target("z1 +")
    with pytest.raises(InputError, match="no projection"):
        target("3 + 4")
    with pytest.raises(InputError, match="constant value"):
        generative_exponent("z*0")
    with pytest.raises(InputError, match="found 10 draws, noise of variance 0; expected at least 100"):
        generative_exponent("z", num_samples=10)
    with pytest.raises(InputError, match="noise of variance -1"):
        generative_exponent("z", noise=-1.0)
    with pytest.raises(InputError, match="expected shape"):
        information_exponent(lambda z: z, num_directions=1)


@pytest.mark.parametrize("link", ["z0*z1*z2", "z0+z1", "z00", "He2(z0)"])
def test_projections_are_numbered_from_one(link):
    with pytest.raises(InputError, match=r"found z0; expected projections numbered from 1"):
        target(link)


def test_sample_complexity_words():
    assert sample_complexity(3, 1, 3) == {
        "one_pass_sgd": "d^2", "one_pass_first": "d^2", "data_repetition": "d", "low_degree_bound": "d^1"
    }  # fmt: skip
    assert sample_complexity(None, None, None)["low_degree_bound"] == "unknown"


def test_one_pass_samples_follow_the_leap():
    costs = sample_complexity(1, 1, leap("z1+He4(z2)").value)
    assert costs["one_pass_sgd"] == "d^3"
    assert costs["one_pass_first"] == "d"
    assert sample_complexity(1, 1, None)["one_pass_sgd"] == "unknown"


def test_pair_kernels_equal_explicit_tensors():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 4))
    eye = np.eye(4)

    def third(v):
        outer = np.einsum("a,b,c->abc", v, v, v)
        return outer - np.einsum("ab,c->abc", eye, v) - np.einsum("ac,b->abc", eye, v) - np.einsum("bc,a->abc", eye, v)

    kernels = hermite_pair_kernels(x)
    second = [np.outer(v, v) - eye for v in x]
    assert kernels[1][0, 1] == pytest.approx(np.sum(second[0] * second[1]) / 2)
    assert kernels[2][0, 1] == pytest.approx(np.sum(third(x[0]) * third(x[1])) / 6)


@pytest.mark.parametrize(("degree", "generative"), [(1, 1), (2, 2), (3, 1)])
def test_exponents_of_data(degree, generative):
    rng = np.random.default_rng(degree)
    x = rng.standard_normal((1000, 8)) @ rng.standard_normal((8, 8))
    white = np.linalg.qr(x - x.mean(0))[0] * np.sqrt(len(x))
    found = exponents_of_data(x, hermite(white[:, 0], degree) + 0.1 * rng.standard_normal(1000))
    assert found.information == degree
    assert found.generative == generative
    nothing = exponents_of_data(x, rng.standard_normal(1000))
    assert nothing.information is None
    assert "whitened" in nothing.caveat
    with pytest.raises(InputError, match="constant value"):
        exponents_of_data(x, np.ones(1000))
    with pytest.raises(InputError, match="seed; found -1"):
        exponents_of_data(x, x[:, 0], seed=-1)
    with pytest.raises(InputError, match="at least 20"):
        exponents_of_data(x[:1], np.ones(1))


@pytest.mark.parametrize("text", ["9**9**9**9*z", "1/0*z"])
def test_numbers_that_float64_does_not_hold_are_named(text):
    with pytest.raises(InputError, match="no finite number"):
        target(text)(np.zeros((3, 1)))
