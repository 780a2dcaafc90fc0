"""Modules that are no function of one input are refused by name, by the network view and by the graph alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from cutaway import Network
from cutaway.cli import main
from cutaway.errors import ModelError
from cutaway.geometry import rectangle, slice_network
from cutaway.network.graph import trace

SCRIPTED = "found TorchScript; expected a Python module"
LAZY = r"module '0' \(LazyLinear\); found a lazy layer without weights.*call the model once"
BATCH = r"module '1' \(BatchNorm1d\); found batch normalisation without running statistics.*GroupNorm"


def body(*layers):
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(8, 2)).eval()


def cases():
    yield torch.jit.script(body(nn.Linear(2, 8))), SCRIPTED
    yield body(nn.LazyLinear(8)), LAZY
    yield body(nn.Linear(2, 8), nn.BatchNorm1d(8, track_running_stats=False)), BATCH


@pytest.mark.filterwarnings("ignore:.*jit:DeprecationWarning", "ignore:.*jit:FutureWarning")
@pytest.mark.parametrize("case", range(3))
def test_the_layer_is_named(case):
    model, words = list(cases())[case]
    for ask in (
        lambda: Network(model, torch.randn(2, 2)),
        lambda: trace(model, torch.randn(1, 2)),
        lambda: slice_network(model, domain=rectangle(-1, 1, -1, 1)),
    ):
        with pytest.raises(ModelError, match=f"(?i){words}"):
            ask()
    if case == 1:
        assert nn.parameter.is_lazy(model[0].weight)  # looking at it has not made weights


def test_a_lazy_layer_is_named_by_the_command_line_too(tmp_path, capsys):
    (tmp_path / "net.py").write_text("from torch import nn\nmake = lambda: nn.Sequential(nn.LazyLinear(2)).eval()\n")
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 3), np.float32), y=np.arange(4) % 2)
    asked = ["measure", "accuracy", f"{tmp_path / 'net.py'}:make", "--data", str(tmp_path / "d.npz")]
    with pytest.raises(SystemExit) as ended:
        main(asked)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "found a lazy layer without weights" in said and "Traceback" not in said


def test_training_mode_is_told_as_such():
    for layer in (nn.BatchNorm1d(8), nn.Dropout(0.3)):
        model = nn.Sequential(nn.Linear(2, 8), layer, nn.ReLU(), nn.Linear(8, 2))
        with pytest.raises(ModelError, match=r"module '1' .*training mode; .* Call model.eval\(\)"):
            slice_network(model, domain=rectangle(-1, 1, -1, 1))
        assert slice_network(model.eval(), domain=rectangle(-1, 1, -1, 1)).num_faces > 4


class Squeezed(nn.Module):
    def __init__(self, where: str) -> None:
        super().__init__()
        self.a, self.b, self.where = nn.Linear(2, 8), nn.Linear(8, 1), where

    def forward(self, x):
        if self.where == "end":
            return self.b(torch.relu(self.a(x))).squeeze()
        h = torch.relu(self.a(x[:, None])).squeeze()
        return self.b(h) if self.where == "inside" else self.b(h)[:, 0]


@pytest.mark.parametrize("where", ["end", "inside", "refused"])
def test_a_bare_squeeze_is_named(where):
    with pytest.raises(ModelError, match="one row.*squeeze\\(\\) without a dimension takes a batch of one away too"):
        Network(Squeezed(where).eval(), torch.randn(2, 2))


class Casting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(2, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.b(torch.relu(self.a(x.float())))


def test_a_cast_inside_the_model_does_not_keep_it_from_being_traced():
    assert slice_network(Casting().eval(), domain=rectangle(-1, 1, -1, 1)).num_faces > 4
