"""Weights that their class keeps packed are unpacked or refused by name. Oracles: the packed network itself, and the
weight that was packed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from cutaway import Network
from cutaway.data import Dataset
from cutaway.errors import ModelError
from cutaway.instruments import Accuracy, Sparsity
from cutaway.network import with_ordinary_weights
from cutaway.network.packed import unpack

INPUTS = torch.rand(12, 6, generator=torch.Generator().manual_seed(0))
DATA = Dataset(name="d", inputs=INPUTS, labels=torch.arange(12) % 3)


class Packed(Tensor):
    """int8 with a scale a row, as torchao keeps it: a linear map knows it, nothing else does."""

    @staticmethod
    def __new__(cls, weight: Tensor, rounds: object = None) -> Packed:
        made = Tensor._make_wrapper_subclass(cls, weight.shape, dtype=weight.dtype)
        made.scale = weight.abs().amax(1, keepdim=True) / 127
        made.whole, made.act_quant_kwargs = (weight / made.scale).round().to(torch.int8), rounds
        return made

    def dequantize(self) -> Tensor:
        return self.whole * self.scale

    def detach(self) -> Packed:
        return self

    def __deepcopy__(self, _memo: dict) -> Packed:
        return self

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is nn.functional.linear:
            return func(args[0], args[1].dequantize(), *args[2:], **(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise NotImplementedError(f"Packed knows no {func}")


def packed(rounds: object = None) -> tuple[nn.Sequential, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    weight = model[0].weight.detach().clone()
    del model[0].weight
    model[0].register_parameter("weight", None)
    model[0]._parameters["weight"] = Packed(weight, rounds)  # pyright: ignore[reportArgumentType]  # as torchao does it
    return model, weight


def test_packed_weights_are_refused_with_what_to_do():
    with pytest.raises(
        ModelError, match=r"parameter '0.weight'; found numbers packed as Packed.*with_ordinary_weights"
    ):
        Network(packed()[0], INPUTS)


def test_the_copy_with_ordinary_weights_is_the_same_function_and_the_model_stays():
    model, weight = packed()
    made = with_ordinary_weights(model)
    assert torch.equal(made(INPUTS), model(INPUTS))
    assert type(model[0].weight) is Packed and type(made[0].weight) is nn.Parameter
    off = (made[0].weight - weight).abs()
    assert 0 < float(off.max()) <= float((weight.abs().amax(1, keepdim=True) / 254).max()) * 1.001
    for instrument in (Accuracy(), Sparsity()):
        assert instrument.measure(made, DATA).figures
    assert Network(made, INPUTS).twin(1).outputs(INPUTS).shape == (12, 3)


def test_weights_that_round_their_activations_are_refused_and_nothing_is_changed():
    model, _ = packed(rounds="per row")
    model[2].weight = nn.Parameter(copy.deepcopy(model[2].weight))
    with pytest.raises(ModelError, match=r"'0.weight'; found a Packed that rounds what it is multiplied with.*alone"):
        with_ordinary_weights(model)
    with pytest.raises(ModelError, match="rounds what it is multiplied with"):
        unpack(model)
    assert type(model[0].weight) is Packed


def test_a_tied_weight_stays_one():
    model, _ = packed()
    twice = nn.ModuleList([model[0], nn.Linear(6, 8)])
    twice[1]._parameters["weight"] = model[0].weight
    assert unpack(twice) == 1
    assert twice[0].weight is twice[1].weight


@pytest.mark.filterwarnings("ignore")
def test_int8_of_torchao():
    quantization = pytest.importorskip("torchao.quantization")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    rounds = copy.deepcopy(model)
    quantization.quantize_(model, quantization.Int8WeightOnlyConfig())
    with pytest.raises(ModelError, match="found numbers packed as Int8Tensor"):
        Network(model, INPUTS)
    torch.testing.assert_close(with_ordinary_weights(model)(INPUTS), model(INPUTS), rtol=1e-5, atol=1e-6)
    quantization.quantize_(rounds, quantization.Int8DynamicActivationInt8WeightConfig())
    with pytest.raises(ModelError, match="a Int8Tensor that rounds"):
        with_ordinary_weights(rounds)
