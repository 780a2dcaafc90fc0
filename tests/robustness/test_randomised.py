"""Networks that answer at random: more draws break more, a defence of noise alone is seen through, and one function of
the input stays what the other instruments ask for."""

import dataclasses

import pytest
import torch
from torch import nn

from cutaway.data import Dataset, load_data
from cutaway.errors import InputError, ModelError
from cutaway.instruments import Accuracy, RobustAccuracy
from cutaway.network import Network
from cutaway.robustness import PGD, sweep_draws
from cutaway.robustness.randomised import FrozenDraw


class Noisy(nn.Module):
    def __init__(self, inner, size):
        super().__init__()
        self.inner, self.size = inner, size

    def forward(self, x):
        return self.inner(x + self.size * torch.randn_like(x))


def trained(size, rows=400):
    """A small network on digits, trained under noise of this size."""
    data = load_data("digits", split="train", num=rows)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Noisy(nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)), size)
        optimiser = torch.optim.Adam(model.parameters(), 0.01)
        for _ in range(150):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(data.inputs), data.labels).backward()
            optimiser.step()
    return model.eval()


def test_the_mean_of_more_draws_breaks_more_until_it_is_flat():
    data = load_data("digits", split="test", num=100)
    network = Network(trained(0.6), data.inputs[:2], random=True)
    sweep = sweep_draws(network, data, PGD(radius=0.15, steps=8), most=16)
    assert sweep.draws == (1, 4, 16)
    single, *_, most = sweep.stands.mean(axis=1)
    assert most < single - 0.05
    assert sweep.frozen.mean() > most  # points of one draw transfer less well than points of the mean
    assert sweep.black_box.mean() > most
    assert sweep.strongest == "by the mean of 16 draws"
    again = sweep_draws(network, data, PGD(radius=0.15, steps=8), most=16)
    assert (again.stands == sweep.stands).all() and (again.clean == sweep.clean).all()


def test_the_sweep_goes_on_only_while_more_draws_gain():
    data = load_data("digits", split="test", num=30)
    network = Network(trained(0.0).inner, data.inputs[:2])
    sweep = sweep_draws(network, data, PGD(radius=0.1, steps=3), most=1024)
    assert sweep.draws == (1, 4, 16) and sweep.flat  # a network without draws gains nothing from them
    assert sweep.last_fall == (0.0, 0.0, 0.0)
    steep = dataclasses.replace(sweep, stands=sweep.stands.copy())
    steep.stands[-2:] = True
    steep.stands[-1, :10] = False
    assert not steep.flat and steep.last_fall[0] == pytest.approx(1 / 3)


def test_a_frozen_draw_is_one_network_and_leaves_the_stream():
    inputs = torch.rand(3, 1, 8, 8)
    model, before = FrozenDraw(trained(0.5, rows=20), 7), torch.random.get_rng_state()
    assert torch.equal(model(inputs), model(inputs))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(model(inputs), FrozenDraw(model.model, 8)(inputs))


def test_the_instrument_sweeps_and_says_so():
    data = load_data("digits", split="test", num=60)
    network, quick = Network(trained(0.6), data.inputs[:2], random=True), RobustAccuracy(radius=0.15, steps=5)
    assert network.draws
    before = torch.random.get_rng_state()
    reading = dataclasses.replace(quick, most_draws=4).measure(network, data)
    assert torch.equal(torch.random.get_rng_state(), before)
    shares = dict(zip(reading.values["against"].values.tolist(), reading.values["stands"].values, strict=True))
    assert reading.figure("robust_accuracy").value == min(shares.values())
    words = quick.describe(reading)
    assert "It answers at random." in words and "by the mean of 4 draws" in words
    assert reading.figure("noise_accuracy").value > reading.figure("robust_accuracy").value
    plain = quick.measure(trained(0.0).inner, data)
    assert "at random" not in quick.describe(plain)
    assert "stands" not in plain.values


def test_what_takes_one_function_refuses_a_network_that_draws():
    data = load_data("digits", split="test", num=20)
    with pytest.raises(ModelError, match=r"robust-accuracy measures what draws"):
        Network(trained(0.6), data.inputs[:2])
    drawing = Network(trained(0.6), data.inputs[:2], random=True)
    with pytest.raises(InputError, match="answers at random"):
        Accuracy().measure(drawing, data)
    assert Network(trained(0.0).inner, data.inputs[:2], random=True).draws is False
    assert drawing.twin(0).draws and drawing.double().draws


def test_the_command_line_measures_a_defence_that_draws(tmp_path, monkeypatch, capsys):
    from cutaway import cli

    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(
        "import torch\nfrom torch import nn\nclass Noisy(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.a = nn.Linear(64, 10)\n"
        "    def forward(self, x):\n        return self.a(x.flatten(1) + torch.randn(len(x), 64))\n"
    )
    given = ["nets.py:Noisy", "--data", "digits", "--num", "20", "--json"]
    assert cli.run(["measure", "robust-accuracy", *given, "--set", "steps=2", "most_draws=4"]) == 0
    assert "last_fall" in capsys.readouterr().out
    assert cli.run(["measure", "accuracy", *given]) == 2
    assert "deterministic" in capsys.readouterr().out


def test_labels_alone_are_needed():
    data = Dataset(name="d", inputs=torch.rand(4, 3))
    with pytest.raises(InputError, match="label"):
        sweep_draws(Network(nn.Linear(3, 2)), data, PGD(radius=0.1, steps=1))
