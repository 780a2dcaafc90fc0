"""Simulators: batched seeds equal single ones, theory overlaid, repetition's collapse, bad input."""

import numpy as np
import pytest
import torch

from cutaway.dynamics.exit_time import ExitSetting, exit_of, quenched_exit_time, square_risk
from cutaway.dynamics.ode import OverlapProblem, integrate
from cutaway.dynamics.pictures import overlay_figure, phase_figure
from cutaway.dynamics.simulation import METHODS, Simulation, simulate
from cutaway.errors import InputError


@pytest.mark.parametrize("method", METHODS)
def test_many_seeds_equal_one_by_one(method):
    keywords = {
        "link": "z1+He2(z2)",
        "activation": "tanh",
        "second_layer": (1.0, -1.0),
        "dimension": 20,
        "rate": 0.01,
        "num_steps": 30,
        "method": method,
        "batch_size": 3,
        "displacement": 0.01,
        "dtype": "float64",
        "label_noise": 0.0,
        "record": 10,
    }
    together = simulate(Simulation(num_seeds=4, **keywords))
    alone = simulate(Simulation(num_seeds=1, **keywords))
    assert np.allclose(together.overlaps[:, :1], alone.overlaps, atol=1e-12)
    grouped = simulate(Simulation(num_seeds=4, budget=1, **keywords))
    assert np.allclose(together.overlaps, grouped.overlaps, atol=1e-12)


def test_repetition_step_equals_the_definition():
    """One extragradient step on displaced weights, by autograd (oracle: naive transcription)."""
    setting = Simulation(
        link="He2(z)", activation="relu", second_layer=(1.0, -1.0), dimension=12, rate=0.05,
        num_steps=1, method="repetition",
        displacement=0.02, num_seeds=1, dtype="float64",
    )  # fmt: skip
    from cutaway.dynamics import simulation as module

    goal = setting.target
    generator = torch.Generator().manual_seed(0)
    weights = module._start(setting, goal, generator)
    (_, inputs, labels) = next(iter(module._stream(setting, goal, [generator], torch.float64)))
    second = torch.tensor([1.0, -1.0], dtype=torch.float64)

    def minus_gradient(w):
        w = w.detach().requires_grad_(True)
        output = (torch.relu(w @ inputs[0, 0]) * second).sum() / 2
        return -torch.autograd.grad(0.5 * (labels[0, 0] - output) ** 2, w)[0]

    expected = weights + 0.05 * minus_gradient(weights + 0.02 * minus_gradient(weights))
    stepped = module._stepper(setting, module.student("relu"))(weights[None], second[None, None], inputs, labels)
    assert torch.allclose(stepped[0], expected, atol=1e-12)


def test_simulation_follows_the_overlap_equations():
    dim, rate = 400, 1.0
    problem = OverlapProblem(
        activation="erf",
        second_layer=(1.0, 1.0),
        num_directions=2,
        dimension=dim,
        rate=rate,
        batch_size=20,
        projected=True,
    )
    link = "(erf(z1)+erf(z2))/2"
    path = simulate(
        Simulation(
            link=link, activation="erf", second_layer=(1.0, 1.0), dimension=dim, rate=rate, batch_size=20, num_steps=60,
            spherical=True, start="orthogonal", num_seeds=16, record=20,
        )
    )  # fmt: skip
    theory = integrate(problem, np.zeros((2, 2)), np.eye(2), 60, record=20)
    assert np.allclose(path.overlaps.mean(axis=1), theory.overlaps, atol=0.03)
    figure = overlay_figure(
        {"m11": (theory.steps, theory.overlaps[:, 0, 0])}, {"m11": (path.steps, path.overlaps[:, :, 0, 0])}
    )
    assert len(figure.axes[0].get_lines()) == 2
    assert len(figure.axes[0].collections) == 1
    assert len(phase_figure(3, {"run": (1.0, 1.0)}).axes[0].get_lines()) == 3


@pytest.mark.parametrize(("width", "rate", "low", "high"), [(2, 0.1, 0.75, 1.25), (8, 0.4, 0.85, 1.05)])
def test_exit_time_bands(width, rate, low, high):
    """Acceptance 6: simulated over predicted exit time in the published bands."""
    setting = ExitSetting(width=width, dimension=400, rate=rate)
    steps = int(3 * quenched_exit_time(setting) * width * 400 / rate)
    path = simulate(
        Simulation(
            link="z**2", activation="square", dimension=400, rate=rate / 400,
            num_steps=steps, second_layer=(1.0,) * width,
            spherical=True, num_seeds=48, record=max(1, steps // 200),
        )
    )  # fmt: skip
    times = path.steps * rate / (width * 400)
    exits = []
    for seed in range(48):
        risks = [square_risk(path.overlaps[t, seed, :, 0], path.self_overlaps[t, seed]) for t in range(len(times))]
        exits.append(exit_of(times, np.array(risks), 0.05))
    assert low <= np.mean(exits) / quenched_exit_time(setting) <= high  # random starts: the quenched mean


def test_repetition_learns_what_one_pass_does_not():
    """Acceptance 7 in small: He3 cosines at t = 100 d, 200 d collapse in t / d and leave plain SGD behind."""
    found = {}
    for dim in (24, 48):
        for method in ("repetition", "sgd"):
            path = simulate(
                Simulation(
                    link="He3(z)", activation="relu", dimension=dim, rate=0.01 / dim, displacement=0.1 / dim,
                    num_steps=200 * dim, method=method, start="orthogonal", num_seeds=24, record=100 * dim,
                )
            )  # fmt: skip
            found[dim, method] = np.abs(path.cosines[1:, :, 0, 0]).mean(axis=1)
    assert np.allclose(found[24, "repetition"], found[48, "repetition"], atol=0.1)
    assert found[48, "repetition"][1] == pytest.approx(0.48, abs=0.1)
    assert found[48, "sgd"][1] < 0.3


def test_bad_simulations_are_named():
    good = {"link": "z", "activation": "relu", "dimension": 10, "rate": 0.1, "num_steps": 5}
    with pytest.raises(InputError, match="method; found 'adam'"):
        Simulation(method="adam", **good)
    with pytest.raises(InputError, match="batch_size; found 0"):
        Simulation(batch_size=0, **good)
    for name, value, words in (
        ("dtype", "int8", "float32 or float64"),
        ("label_noise", -1.0, "a variance of at least 0"),
        ("start", "middle", "'random', 'orthogonal' or an overlap"),
    ):
        with pytest.raises(InputError, match=f"{name}; found .*{words}"):
            Simulation(**good, **{name: value})
    with pytest.raises(InputError, match="device 'gpu'; found .*present on this machine"):
        Simulation(**good, device="gpu")
    with pytest.raises(InputError, match="more than the directions"):
        Simulation(**{**good, "dimension": 1})
    with pytest.raises(InputError, match="divergence by step"):
        simulate(Simulation(**{**good, "activation": "He3", "rate": 1e9, "num_steps": 60}))
    with pytest.raises(InputError, match="an overlap in"):
        simulate(Simulation(start=2.0, **good))


def test_a_link_for_numpy_works_too():
    def link(fields):
        return np.sin(np.asarray(fields[..., 0]))

    path = simulate(
        Simulation(link=link, activation="tanh", dimension=30, rate=0.5, num_steps=50, batch_size=10, record=50)
    )
    assert path.overlaps[-1].mean() > 0.3


@pytest.mark.parametrize("method", ["sgd", "reuse"])
def test_given_inputs_take_the_place_of_gaussian_ones(method):
    """Rows of +-1 in eight dimensions: only the first coordinate tells, and every step draws from the rows alone."""
    rows = np.sign(np.random.default_rng(0).standard_normal((200, 8)))
    keywords = {
        "link": "z", "activation": "identity", "dimension": 8, "rate": 0.1, "num_steps": 150, "batch_size": 50,
        "record": 150, "method": method, "num_seeds": 4, "dtype": "float64",
    }  # fmt: skip
    path = simulate(Simulation(inputs=rows, **keywords))
    assert np.all(path.overlaps[-1, :, 0, 0] > 0.95)
    alone = simulate(Simulation(inputs=rows, **(keywords | {"num_seeds": 1})))
    assert np.allclose(path.overlaps[:, :1], alone.overlaps, atol=1e-12)
    still = simulate(Simulation(inputs=0 * rows, **keywords))  # nothing to learn from: the weights stay
    assert np.allclose(still.self_overlaps[0], still.self_overlaps[-1])


def test_given_inputs_that_do_not_fit_are_named():
    good = {"link": "z", "activation": "relu", "dimension": 4, "rate": 0.1, "num_steps": 5}
    with pytest.raises(InputError, match="batch_size; found 60 for 50 rows of inputs; expected at most the rows"):
        Simulation(inputs=np.ones((50, 4)), batch_size=60, **good)
    with pytest.raises(InputError, match=r"inputs; found shape \(50, 3\); expected finite numbers of shape \(n, 4\)"):
        Simulation(inputs=np.ones((50, 3)), **good)
    with pytest.raises(InputError, match="inputs; found NaN or infinity"):
        Simulation(inputs=np.full((50, 4), np.nan), **good)
