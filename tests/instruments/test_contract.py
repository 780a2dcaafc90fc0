"""Every registered instrument keeps the contract, and the contract can be broken."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
import xarray as xr

from cutaway import registry
from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.instrument import Findings, Instrument
from cutaway.network import Network
from cutaway.reading import Figure, variable
from cutaway.testing import check_instrument
from cutaway.testing.contract import small_classifier, small_data

SMALLER = {"distillation": {"draws": 3, "seeds": 2, "distil_steps": 10, "steps": 10}}
"""Settings of what trains many networks anew."""


@pytest.mark.parametrize("name", registry.names())
def test_registered_instruments_keep_the_contract(name):
    check_instrument(registry.instrument(name)(**SMALLER.get(name, {})))


@dataclass(frozen=True, kw_only=True)
class Good(Instrument):
    """Mean output."""

    name: ClassVar[str] = "good"
    question: ClassVar[str] = "What is the mean output?"
    source: ClassVar[str] = "this test"
    expense: ClassVar[str] = "1 forward pass"

    def _measure(self, network, data, context):
        mean = float(network.outputs(data.inputs, budget=context.budget).double().mean())
        values = xr.Dataset({"mean": variable(mean, [], long_name="mean output")})
        return Findings(values=values, figures=(Figure(name="mean", value=mean),))


class LeavesHook(Good):
    def _measure(self, network, data, context):
        network.model.train()
        for p in network.model.parameters():
            p.data.add_(1e-3)
        return super()._measure(network, data, context)


class Unseeded(Good):
    calls = 0

    def _measure(self, network, data, context):
        type(self).calls += 1
        network.forward(data.inputs[:1])
        value = float(type(self).calls)
        return Findings(values=xr.Dataset(), figures=(Figure(name="mean", value=value),))


class Nameless(Good):
    def _measure(self, network, data, context):
        found = super()._measure(network, data, context)
        return Findings(values=xr.Dataset({"mean": ((), 1.0)}), figures=found.figures)


def test_a_good_one_passes():
    check_instrument(Good())


@pytest.mark.parametrize(
    ("broken", "clause"), [(LeavesHook, "was changed"), (Unseeded, "same seed"), (Nameless, "lacks")]
)
def test_the_contract_catches(broken, clause):
    with pytest.raises(AssertionError, match=clause):
        check_instrument(broken())


def test_bad_data_is_refused_by_the_base_class():
    data, model = small_data(), small_classifier()
    accuracy = registry.instrument("accuracy")()
    with pytest.raises(InputError, match="without labels"):
        accuracy.measure(model, dataclasses.replace(data, labels=None, num_classes=None))
    with pytest.raises(InputError, match=r"found class 4; expected 0 to 2"):
        accuracy.measure(model, dataclasses.replace(data, labels=data.labels + 2, num_classes=5))
    network = Network(model, data.inputs[:2])
    with pytest.raises(InputError, match="order of the channels"):
        accuracy.measure(network, dataclasses.replace(data, inputs=data.inputs.movedim(1, 3)))


def test_unknown_instrument_suggests_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'accuracy'"):
        registry.instrument("acuracy")


def test_token_networks_get_unsupported_readings_with_the_reason():
    class Tokens(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(10, 4)

        def forward(self, tokens):
            return torch.relu(self.table(tokens))

    from cutaway.data import Dataset

    data = Dataset(name="tokens", inputs=torch.randint(0, 10, (6, 5)))
    reading = registry.instrument("local-complexity")().measure(Tokens(), data)
    assert reading.status.value == "unsupported"
    assert "token ids" in reading.reason
    assert registry.instrument("sparsity")().measure(Tokens(), data).figure("non_zero_share").value > 0


@pytest.mark.parametrize(
    "number", [np.float32(0.25), np.float64(0.25), np.float16(0.25), torch.tensor(0.25), np.array(0.25)]
)
def test_numbers_of_numpy_and_torch_are_settings_and_seeds(number, tmp_path):
    """0.25 is the same in every type, so the reading is the same, and its record is plain numbers."""
    from cutaway.instruments import LocalComplexity

    data = Dataset(name="d", inputs=torch.rand(20, 6), labels=torch.arange(20) % 3)
    model = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3)).eval()
    wanted = LocalComplexity(radius=0.25).measure(model, data, seed=3)
    found = LocalComplexity(radius=number).measure(model, data, seed=np.int64(3), budget=np.int64(10**8))
    assert [f.value for f in found.figures] == [f.value for f in wanted.figures]
    assert type(found.provenance.parameters["radius"]) is float and type(found.provenance.seed) is int
    found.save(tmp_path / "reading")
