"""Where a measurement is asked for does not matter: other threads, autocast, inference mode, numbers of NumPy or torch."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from cutaway import Network
from cutaway._compat import _default_inside
from cutaway.data import Dataset, as_dataset
from cutaway.errors import InputError
from cutaway.features.lofi.estimators import LoFiClassifier
from cutaway.instruments import Accuracy, LocalComplexity, RobustAccuracy
from cutaway.robustness.certified_share import certified_accuracy
from cutaway.seeds import check_seed

DATA = Dataset(
    name="d", inputs=torch.rand(40, 6, generator=torch.Generator().manual_seed(0)), labels=torch.arange(40) % 3
)


def build() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3)).eval()


def figures(model, instrument, **more):
    reading = instrument.measure(Network(model, DATA.inputs[:2]), DATA, intervals=False, **more)
    return [(f.name, f.value) for f in reading.figures]


def test_two_threads_that_measure_one_model_leave_it_as_it_was_and_agree_with_one():
    instruments = [Accuracy(), LocalComplexity(num_points=8, num_directions=2)]
    for _ in range(5):
        model = build()
        with ThreadPoolExecutor(2) as pool:
            told = list(pool.map(lambda k, m=model: figures(m, instruments[k % 2]), range(6)))
        assert all(p.requires_grad for p in model.parameters())
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
        assert told == [figures(model, instruments[k % 2]) for k in range(6)]


@pytest.mark.parametrize(
    "context", [lambda: torch.autocast("cpu", torch.bfloat16), torch.inference_mode, torch.no_grad]
)
def test_a_reading_inside_autocast_or_inference_mode_is_the_one_outside(context):
    for instrument in (
        Accuracy(),
        RobustAccuracy(radius=0.1, steps=2),
        LocalComplexity(num_points=8, num_directions=2),
    ):
        outside, model = figures(build(), instrument), build()
        with context():
            assert figures(model, instrument) == outside


@pytest.fixture
def meta_by_default():
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


def test_the_callers_default_device_is_not_the_librarys(meta_by_default):
    with torch.device("cpu"):
        model, X = build(), torch.rand(60, 5).numpy()
        instruments = (Accuracy(), RobustAccuracy(radius=0.1, steps=2), LocalComplexity(num_points=8, num_directions=2))
        before = [figures(model, i) for i in instruments]
    assert [figures(model, i) for i in instruments] == before
    data = as_dataset((DATA.inputs.numpy(), DATA.labels.numpy()))
    assert (
        data.inputs.device.type == Network(model, DATA.inputs[:2]).affine_at(DATA.inputs[0]).slope.device.type == "cpu"
    )
    assert certified_accuracy(model, data, radius=0.01).summary()
    labels = (X[:, 0] > 0.5).astype(int)
    assert LoFiClassifier(mode="finite", width=50, random_state=0).fit(X, labels).score(X, labels) > 0.5
    assert torch.empty(1).device.type == "meta"


def test_a_model_sees_the_callers_default_device_while_it_runs_and_nothing_else_does():
    seen = []

    class Asks(nn.Module):
        def forward(self, x):
            seen.append(torch.get_default_device().type)
            if x is None:
                raise ValueError("no input")
            return x

    model, host = Asks(), torch.device("meta")
    with _default_inside(model, host):
        model(torch.ones(1))
        with pytest.raises(ValueError, match="no input"):
            model(None)
        assert torch.get_default_device().type == "cpu"
    assert seen == ["meta", "meta"]
    assert not model._forward_hooks and not model._forward_pre_hooks


@pytest.mark.parametrize("number", [np.float64, np.float32, torch.tensor])
def test_settings_and_seeds_are_numbers_of_numpy_or_torch(number):
    instrument = LocalComplexity(radius=number(0.25), num_points=np.int64(8), num_directions=torch.tensor(2))
    assert instrument == LocalComplexity(radius=0.25, num_points=8, num_directions=2)
    assert type(instrument.radius) is float
    seed = np.int64(3) if number is not torch.tensor else torch.tensor(3)
    reading = instrument.measure(build(), DATA, seed=seed, intervals=False)
    assert reading.provenance.seed == 3
    assert type(reading.provenance.seed) is int


@pytest.mark.parametrize("seed", [1.5, "3", -1])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(InputError, match=r"seed; found .*0 to 4294967295"):
        check_seed(seed)
