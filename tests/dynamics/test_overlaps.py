"""Integrals against Monte Carlo, overlap equations against published curves and simulations, exit times, DMFT."""

import numpy as np
import pytest

from cutaway.dynamics import integrals
from cutaway.dynamics.dmft import MeanFieldProblem, integrate_mean_field
from cutaway.dynamics.exit_time import (
    ExitSetting,
    annealed_exit_time,
    exit_of,
    integrate_square,
    optimal_rate,
    quenched_exit_time,
    samples_factor,
    square_flow,
    square_risk,
)
from cutaway.dynamics.expectations import sampled
from cutaway.dynamics.ode import OverlapProblem, expectations_of, integrate
from cutaway.dynamics.phase import phase_boundary, steps_needed
from cutaway.dynamics.student import student
from cutaway.dynamics.targets import committee
from cutaway.errors import InputError


def fields(covariance, num=2_000_000):
    rng = np.random.default_rng(0)
    half = rng.standard_normal((num // 2, len(covariance)))
    return np.concatenate([half, -half]) @ np.linalg.cholesky(covariance).T


def some_covariance(size, seed=1):
    a = np.random.default_rng(seed).standard_normal((size, size + 2))
    scale = np.sqrt(np.diagonal(a @ a.T))
    return (a @ a.T) / np.outer(scale, scale) * np.outer(*[np.linspace(0.7, 1.2, size)] * 2)


@pytest.mark.parametrize("name", ["erf", "he2", "He3"])
def test_integrals_equal_monte_carlo(name):
    """Acceptance 5: within 1 % of the size of the integrand."""
    c, chosen = some_covariance(4), student(name)
    u, v, w, z = fields(c).T

    def close(value, sample):
        assert float(value) == pytest.approx(sample.mean(), abs=0.01 * np.sqrt(np.mean(sample**2)) + 1e-3)

    if chosen.polynomial is None:
        close(getattr(integrals, f"{name}_i2")(c[0, 0], c[0, 2], c[2, 2]), chosen.value(u) * chosen.value(w))
        i3 = getattr(integrals, f"{name}_i3")(c[0, 0], c[0, 1], c[0, 2], c[1, 2], c[2, 2])
        close(i3, chosen.slope(u) * v * chosen.value(w))
        close(getattr(integrals, f"{name}_j2")(c[0, 0], c[0, 1], c[1, 1]), chosen.slope(u) * chosen.slope(v))
    fourth = chosen.slope(u) * chosen.slope(v) * chosen.value(w) * chosen.value(z)
    if name == "erf":
        close(integrals.erf_i4(lambda i, j: c[i, j]), fourth)
    elif chosen.polynomial is not None:
        slope = integrals.derivative(chosen.polynomial)
        factors = (slope, slope, chosen.polynomial, chosen.polynomial)
        close(integrals.polynomial_expectation(factors, lambda i, j: c[i, j]), fourth)


def test_isserlis_closed_form():
    c = some_covariance(4)
    value = integrals.gaussian_moment((1, 1, 1, 1), lambda i, j: c[i, j])
    assert value == pytest.approx(c[0, 1] * c[2, 3] + c[0, 2] * c[1, 3] + c[0, 3] * c[1, 2])
    assert integrals.gaussian_moment((6,), lambda i, j: np.float64(2.0)) == pytest.approx(15 * 8)


@pytest.mark.parametrize("name", ["erf", "he3"])
def test_closed_expectations_equal_sampled_ones(name):
    joint = some_covariance(5)
    own, overlaps, teacher = joint[:3, :3], joint[:3, 3:], joint[3:, 3:]
    second = np.array([1.0, -0.5, 2.0])
    for loss in ("square", "correlation"):
        problem = OverlapProblem(
            activation=name,
            second_layer=tuple(second),
            num_directions=2,
            rate=1.0,
            dimension=10,
            loss=loss,
            label_noise=0.1,
        )
        exact = expectations_of(problem)(overlaps, own, teacher)
        drawn = sampled(student(name), second, committee(name, 2), 0.1, loss, 400_000, 0)(overlaps, own, teacher)
        share = 0.03 if name == "erf" else 0.25  # products of cubics have heavy tails
        for field in ("towards_target", "towards_student", "squared"):
            wanted = getattr(exact, field)
            assert np.allclose(wanted, getattr(drawn, field), atol=share * np.abs(wanted).max())
        assert exact.risk == pytest.approx(drawn.risk, rel=0.03)


CURVES = {
    "all": (
        {"batch_size": 100, "rate": 20 * 0.4 / 100, "terms": ("flow", "noise")},
        [0.1669, 0.1495, 0.0697, 0.0327, 0.0264, 0.0264],
    ),
    "flow": (
        {"batch_size": 100, "rate": 20 * 0.5 / 1e4, "terms": ("flow",)},
        [0.1669, 0.1665, 0.1631, 0.1557, 0.1312, 0.0766],
    ),
}


@pytest.mark.parametrize("name", CURVES)
def test_published_erf_curves(name):
    """Acceptance 6: both curves of the batch-size study within 3 %."""
    keywords, published = CURVES[name]
    problem = OverlapProblem(
        activation="erf",
        second_layer=(1.0, 1.0),
        num_directions=2,
        dimension=10_000,
        label_noise=1e-2,
        projected=True,
        **keywords,
    )
    path = integrate(problem, np.zeros((2, 2)), np.eye(2), 3000)
    assert np.allclose(path.risks[[0, 10, 100, 300, 1000, 3000]], published, rtol=0.03)


def test_square_activation_flow_equals_the_general_equations():
    """dQ and dM of the closed square form against the sampled expectations (oracle: second implementation)."""
    joint = some_covariance(4)
    joint /= np.sqrt(np.outer(np.diagonal(joint), np.diagonal(joint)))
    own, m = joint[:3, :3], joint[:3, 3]
    rate, noise, dim = 0.3, 0.2, 1000
    move, change = square_flow(m, own, rate, noise, sphere=False)
    problem = OverlapProblem(
        activation="square",
        second_layer=(1.0,) * 3,
        rate=rate / dim,
        dimension=dim,
        label_noise=noise,
        terms=("flow", "noise"),
    )
    found = expectations_of(problem)(m[:, None], own, np.eye(1))
    scale = rate / dim / 3  # one step is dt = gamma / (p d)
    assert np.allclose(rate / dim / 3 * found.towards_target[:, 0], scale * move, rtol=1e-9)
    first = rate / dim / 3 * found.towards_student
    second = (rate / dim / 3) ** 2 * dim * found.squared
    assert np.allclose(first + first.T + second, scale * change, rtol=1e-9)
    assert square_risk(m, own) == pytest.approx(found.risk)


def test_exit_times_of_the_specification():
    one = ExitSetting(width=1, dimension=500, rate=0.1, drop=0.05)
    assert annealed_exit_time(one) == pytest.approx(1.02, abs=0.005)
    assert quenched_exit_time(one) == pytest.approx(1.40, abs=0.005)
    eight = ExitSetting(width=8, dimension=500, rate=0.4, drop=0.05)
    assert annealed_exit_time(eight) == pytest.approx(0.360, abs=0.001)
    assert quenched_exit_time(eight) == pytest.approx(0.369, abs=0.001)
    assert samples_factor(1) == pytest.approx(3.0)
    assert samples_factor(10**6) == pytest.approx(0.5, abs=1e-5)
    assert samples_factor(1) / samples_factor(10**6) == pytest.approx(6, abs=1e-4)
    rates = np.linspace(0.02, 0.14, 121)
    cost = [annealed_exit_time(ExitSetting(width=1, dimension=500, rate=r)) / r for r in rates]
    assert rates[int(np.argmin(cost))] == pytest.approx(optimal_rate(1), abs=0.002)
    with pytest.raises(InputError, match="does not grow"):
        ExitSetting(width=1, dimension=500, rate=1.0)


def test_square_flow_leaves_the_plateau_at_the_predicted_time():
    dim, start = 3000, 1.0 / np.sqrt(3000)
    path = integrate_square(np.array([start]), np.eye(1), 0.1, 1e-4, 3.0)
    time = exit_of(path.times, path.risks, 0.01)
    assert time == pytest.approx(annealed_exit_time(ExitSetting(width=1, dimension=dim, rate=0.1, drop=0.01)), rel=0.25)
    assert exit_of(path.times, np.ones_like(path.risks), 0.01) == np.inf


REFERENCE = [
    (0, 0), (0.0758, -0.0632), (0.1238, -0.1027), (0.1554, -0.1276), (0.1786, -0.1449), (0.1982, -0.1588),
    (0.2162, -0.1714),
]  # fmt: skip
SIMULATED_RELU = (0.2154, -0.1756)
SIMULATED = [(0, 0), (0.0922, -0.0770), (0.1572, -0.1312), (0.2012, -0.1679), (0.2329, -0.1941), (0.2572, -0.2142)]


def reuse_overlaps(scheme, steps=6):
    problem = MeanFieldProblem(
        link="tanh(z1+He3(z2))", activation="relu", second_layer=(2**-0.5, -(2**-0.5)), ratio=3.0, rate=0.2,
        scheme=scheme,
    )  # fmt: skip
    path = integrate_mean_field(problem, steps)
    return 0.5 * (path.overlaps[:, 0] - path.overlaps[:, 1])  # the second neuron is the first one's mirror


def test_mean_field_table():
    """Acceptance 7: the authors' reuse table to 0.003, all steps, integrated as their code does."""
    assert np.allclose(reuse_overlaps("published"), REFERENCE, atol=0.003)


def test_mean_field_equations_equal_simulation_for_relu():
    """Oracle: full-batch descent at D = 2,000, N = 6,000, mean of 120 runs, errors 0.0008 and 0.0007 at step 6. There the
    published table is 6 errors off in the second direction, the equations 2."""
    ours = reuse_overlaps("exact")
    assert np.allclose(ours[-1], SIMULATED_RELU, atol=0.0035)
    assert abs(ours[4, 1] - reuse_overlaps("published", 4)[4, 1]) > 0.0015  # the two are told apart


def test_mean_field_equals_simulation_for_a_smooth_student():
    """Full-batch descent at D = 1,500, N = 4,500, mean of 90 runs (standard error 0.0014); oracle: direct
    simulation."""
    problem = MeanFieldProblem(
        link="tanh(z1+He3(z2))", activation="tanh", second_layer=(2**-0.5, -(2**-0.5)), ratio=3.0, rate=0.2
    )
    path = integrate_mean_field(problem, 5)
    assert np.allclose(0.5 * (path.overlaps[:, 0] - path.overlaps[:, 1]), SIMULATED, atol=0.004)
    assert np.all(np.diff(path.losses) < 0)


def test_phase_boundary():
    square, correlation = phase_boundary(3), phase_boundary(3, loss="correlation")
    assert square.time_exponents[0] == correlation.time_exponents[0] == 2
    assert square.time_exponents[-1] == 0.5
    assert correlation.time_exponents[-1] == 0
    assert steps_needed(3, 100, 1) == pytest.approx(100**2)
    assert steps_needed(3, 100, 10**8, loss="correlation") == 1
    with pytest.raises(InputError, match="at least 1"):
        phase_boundary(0)


def test_bad_problems_are_named():
    with pytest.raises(InputError, match="no such student"):
        OverlapProblem(activation="swish", second_layer=(1.0,), rate=1.0, dimension=10)
    with pytest.raises(InputError, match="'square' or 'correlation'"):
        OverlapProblem(activation="erf", second_layer=(1.0,), rate=1.0, dimension=10, loss="l1")
    problem = OverlapProblem(activation="erf", second_layer=(1.0, 1.0), rate=1.0, dimension=10)
    with pytest.raises(InputError, match=r"start overlaps; found shapes \(1, 1\) and \(1, 1\); expected \(2, 1\)"):
        integrate(problem, np.full((1, 1), 0.5), np.eye(1), 1)
    with pytest.raises(InputError, match="overlaps up to 5 with weights of squared length 1"):
        integrate(problem, np.full((2, 1), 5.0), np.eye(2), 1)
    problem = OverlapProblem(activation="He3", second_layer=(1.0,), rate=1e6, dimension=10)
    with pytest.raises(InputError, match="divergence at step"):
        integrate(problem, np.full((1, 1), 0.5), np.eye(1), 100)


def test_a_seed_that_no_generator_takes_is_told():
    with pytest.raises(InputError, match="seed; found -1; expected 0 to 4294967295"):
        OverlapProblem(activation="erf", second_layer=(1.0,), rate=0.1, dimension=10, seed=-1)
    with pytest.raises(InputError, match="seed; found 4294967296"):
        MeanFieldProblem(link="z", activation="tanh", second_layer=(1.0,), ratio=3.0, rate=0.2, seed=2**32)
