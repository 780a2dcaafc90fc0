"""A recorded run gives the graph that an export gives, and leaves to the export what it cannot follow.

Oracle: `torch.export` of the same module.
"""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from cutaway.errors import ModelError
from cutaway.network.graph import evaluate_graph, trace
from cutaway.network.graph.recording import NotRecorded, record_graph

Tracing = sys.modules["cutaway.network.graph.tracing"]


class Straight(nn.Module):
    """A function as a module that says it runs straight."""

    runs_straight = True

    def __init__(self, function, *layers):
        super().__init__()
        self.layers, self.function = nn.ModuleList(layers), function

    def forward(self, x):
        return self.function(x, *self.layers)


def layers():
    """Every kind that the ONNX importer builds, on (2, 8, 8)."""
    head = [nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.PReLU(4), nn.ReLU6()]
    middle = [
        nn.ConvTranspose2d(4, 4, 2),
        nn.AvgPool2d(2),
        nn.LeakyReLU(0.1),
        nn.Hardtanh(-0.5, 2.0),
        nn.ELU(),
        nn.SELU(),
    ]
    tail = [
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 6),
        nn.LayerNorm(6),
        nn.Softplus(),
        nn.GELU(),
        nn.Mish(),
    ]
    torch.manual_seed(0)
    return [
        *head,
        *middle,
        *tail,
        nn.Tanh(),
        nn.Sigmoid(),
        nn.Hardswish(),
        nn.CELU(),
        nn.Softmax(-1),
        nn.LogSoftmax(-1),
    ]


def in_turn(x, *modules):
    for module in modules:
        x = module(x)
    return x


def attention(x, project):
    """Products of two values, a shared matrix, slices, a concatenation, reductions."""
    query, key = project(x).chunk(2, -1)
    mixed = (query @ key.mT / 2).softmax(-1) @ x
    best = torch.maximum(mixed, x).amax(1, keepdim=True)
    return torch.cat([mixed, best - mixed.mean(1, keepdim=True)], 1)[:, 1:].flatten(1)


CASES = {
    "layers": (lambda: Straight(in_turn, *layers()), (1, 2, 8, 8)),
    "attention": (lambda: Straight(attention, nn.Linear(4, 8)), (1, 3, 4)),
    "one layer twice": (lambda: Straight(lambda x, layer: layer(layer(x).relu()), nn.Linear(4, 4)), (1, 4)),
}


def both(model, shape):
    """The graph of the recording, and of the export."""
    example = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    recorded = trace(model, example)
    model.runs_straight = False
    return recorded, trace(model, example)


@pytest.mark.parametrize("case", CASES)
def test_words_shapes_modules_and_values_are_those_of_an_export(case, monkeypatch):
    make, shape = CASES[case]
    model = make().eval()
    exports = []
    monkeypatch.setattr(Tracing, "build_nodes", lambda *a, real=Tracing.build_nodes: exports.append(1) or real(*a))
    recorded, exported = both(model, shape)
    assert len(exports) == 1, "the first of the two was recorded"
    for mine, theirs in zip(recorded.nodes, exported.nodes, strict=True):
        told = [(n.op, n.inputs, n.shape, n.module, n.call, sorted(n.constants)) for n in (mine, theirs)]
        assert told[0] == told[1]
    assert len({n.name for n in recorded.nodes}) == len(recorded.nodes)
    points = torch.randn((5, *shape[1:]), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for mine, theirs in zip(evaluate_graph(recorded, points), evaluate_graph(exported, points)):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


LEFT = {
    "a write in place": lambda x: x.clone().relu_(),
    "a number read": lambda x: x * float(x.sum()),
    "numbers read in a list": lambda x: x + torch.tensor(x.tolist()).sum(),
    "an operator without a word": lambda x: x.frac(),
    "positions beside a maximum": lambda x: x.max(1).indices * x,
    "several outputs": lambda x: (x, x),
    "an output that does not depend": lambda x: torch.ones(1, 3),
}


@pytest.mark.parametrize("case", LEFT)
def test_what_cannot_be_followed_is_not_recorded(case):
    with pytest.raises(NotRecorded):
        record_graph(Straight(LEFT[case]), (torch.rand(1, 3, dtype=torch.float64),))


def test_what_is_not_recorded_is_exported_and_what_says_nothing_of_itself_too(monkeypatch):
    graph = trace(Straight(lambda x: x.clone().relu_()), torch.rand(1, 3))
    assert [n.op for n in graph.nodes] == ["input", "relu"]
    plain = Straight(lambda x: x.relu())
    plain.runs_straight = False
    monkeypatch.setattr(Tracing, "record_graph", lambda *_: pytest.fail("recorded"))
    assert [n.op for n in trace(plain, torch.rand(1, 3)).nodes] == ["input", "relu"]


def test_a_recording_that_holds_for_its_example_alone_is_refused():
    """The check at 15 more points sees what no operator told."""
    seen = []

    def function(x):
        seen.append(1)
        return x.relu() if len(seen) == 1 else -x

    with pytest.raises(ModelError, match="differs from the model"):
        trace(Straight(function), torch.rand(1, 3))


def test_hooks_are_gone():
    model = Straight(in_turn, nn.Linear(3, 3))
    record_graph(model.double(), (torch.rand(1, 3, dtype=torch.float64),))
    assert not model.layers[0]._forward_pre_hooks and not model.layers[0]._forward_hooks
