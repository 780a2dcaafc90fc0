"""The graph computes what the model computes, for every operator of the vocabulary, batched and not."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cutaway.errors import ModelError, UnsupportedOperator
from cutaway.network.graph import evaluate_graph, output_of, trace

CASES = {
    "activations": (
        lambda: nn.Sequential(
            nn.Linear(4, 6),
            nn.LeakyReLU(0.1),
            nn.PReLU(6),
            nn.ELU(0.7),
            nn.SELU(),
            nn.CELU(0.5),
            nn.Softplus(2.0),
            nn.GELU(),
            nn.GELU("tanh"),
            nn.SiLU(),
            nn.Mish(),
            nn.Hardswish(),
            nn.Hardsigmoid(),
            nn.Hardtanh(-0.5, 0.7),
            nn.ReLU6(),
            nn.Softsign(),
            nn.LogSigmoid(),
            nn.RReLU(),
            nn.Tanhshrink(),
            nn.Tanh(),
            nn.Sigmoid(),
            nn.Softmax(-1),
            nn.LogSoftmax(-1),
            nn.Dropout(),
            nn.GLU(),
        ),
        (4,),
    ),
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1, stride=2),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Upsample(scale_factor=2),
            nn.ReflectionPad2d(1),
            nn.ConvTranspose2d(4, 4, 2, groups=2),
            nn.GroupNorm(2, 4),
            nn.InstanceNorm2d(4, affine=True),
            nn.AvgPool2d(3, 2, 1),
            nn.AdaptiveAvgPool2d(2),
            nn.ZeroPad2d(1),
            nn.PixelShuffle(2),
            nn.Flatten(),
            nn.Linear(64, 3),
        ),
        (2, 12, 12),
    ),
    "one dimension": (
        lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.MaxPool1d(2), nn.AvgPool1d(2), nn.Flatten()),
        (2, 12),
    ),
    "encoder": (lambda: nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, activation="gelu"), (5, 8)),
}


class Functions(nn.Module):
    def forward(self, x):
        first, second = x.view(x.shape[0], 2, 2).max(-1).values, x[:, [3, 0]]
        joined = torch.cat(
            [
                torch.maximum(first, second),
                torch.minimum(first, second),
                x.amin(1, keepdim=True),
                x.new_ones(len(x), 1),
            ],
            1,
        )
        stacked = torch.stack([joined.abs(), joined.roll(1, 1), joined.flip(1)], 1).transpose(1, 2)
        a, b, c = stacked.unbind(-1)
        split = torch.cat(list((a - 2 * b).split([1, 3, 2], 1))[::-1], 1)
        powers = (
            c**2
            + c**3
            + split.exp()
            + (1 + c.square()).log()
            + (1 + c * c).sqrt()
            + (2 + a).rsqrt()
            + 1 / (2 + a)
            + b / (3 + a)
        )
        where = torch.where(b > 0, b, 0.3 * b) + torch.where(b <= 0, 2 * b, 5 * b)
        clipped = (
            torch.clamp(a, 0.2, 0.6) + torch.clamp(b, min=0.1) + torch.maximum(b, torch.full((6,), 0.3, dtype=x.dtype))
        )
        outer = (
            (a.unsqueeze(-1) @ b.unsqueeze(-2)).sum(-1) - a.mean(1, keepdim=True) + F.pad(a, (1, 0), value=0.5)[:, :6]
        )
        return powers + where + clipped + outer + torch.sin(a) - torch.cos(b) + torch.erf(c) + x.sum(1, keepdim=True)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.norm = nn.MultiheadAttention(8, 2, batch_first=True), nn.RMSNorm(8)

    def forward(self, x):
        x = self.norm(x)
        q = x.view(x.shape[0], 5, 2, 4).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, q, q, is_causal=True).transpose(1, 2).flatten(2)
        return self.attention(x, y, x, need_weights=False)[0]


CASES["functions"] = (Functions, (4,))
CASES["attention"] = (Attention, (5, 8))


@pytest.mark.parametrize("name", CASES)
def test_same_as_the_model_on_a_batch(name):
    torch.manual_seed(0)
    make, shape = CASES[name]
    model = make().eval().double()
    graph = trace(model, torch.rand(2, *shape, dtype=torch.float64))
    assert [n.op for n in graph.nodes if n.op.startswith("aten")] == []
    inputs = torch.randn(7, *shape, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(output_of(graph, inputs), model(inputs), rtol=1e-10, atol=1e-12)


def test_every_value_has_batch_then_node_shape():
    graph = trace(nn.Sequential(nn.Flatten(), nn.Linear(6, 3), nn.ReLU()), torch.rand(1, 2, 3))
    values = evaluate_graph(graph, torch.rand(5, 2, 3))
    assert [tuple(v.shape) for v in values] == [(5, *n.shape) for n in graph.nodes]
    assert graph.dtype == torch.float64 and values[-1].dtype == torch.float64


def test_constants_are_folded_and_batch_norm_is_a_scale_and_shift():
    norm = nn.BatchNorm1d(3)
    norm.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    norm.running_var.copy_(torch.tensor([4.0, 9.0, 16.0]))
    graph = trace(nn.Sequential(nn.Linear(2, 3), norm), torch.rand(1, 2))
    assert [n.op for n in graph.nodes] == ["input", "linear", "scale_shift"]
    expected = (torch.tensor([4.0, 9.0, 16.0], dtype=torch.float64) + 1e-5).rsqrt()
    assert torch.allclose(graph.output.constants["scale"].flatten(), expected)


def test_module_path_and_call_number():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.act, self.inner = nn.ReLU(), nn.Sequential(nn.Linear(3, 3))

        def forward(self, x):
            return self.act(self.inner(self.act(self.inner(x))))

    nodes = trace(Twice(), torch.rand(1, 3)).nodes
    assert [(n.op, n.module, n.call) for n in nodes[1:]] == [
        ("linear", "inner.0", 0),
        ("relu", "act", 0),
        ("linear", "inner.0", 1),
        ("relu", "act", 1),
    ]


def test_unknown_operator_is_kept_and_raises_only_when_asked():
    class Cumulative(nn.Module):
        def forward(self, x):
            return torch.cumsum(x, 1)

    graph = trace(Cumulative(), torch.rand(1, 3))
    inputs = torch.rand(4, 3, dtype=torch.float64)
    assert torch.allclose(output_of(graph, inputs), inputs.cumsum(1))
    with pytest.raises(
        UnsupportedOperator, match=r"aten\.cumsum\.default.*found.*expected an operator that slicing knows"
    ):
        graph.unsupported(graph.output, "slicing")


def test_model_is_left_alone_and_mode_is_evaluation():
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.9), nn.BatchNorm1d(3)).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    graph = trace(model, torch.rand(4, 3))
    assert model.training and model[1].training and model[0].weight.dtype == torch.float32
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert model[0].weight.requires_grad and [n.op for n in graph.nodes] == ["input", "linear", "scale_shift"]


def test_whole_example_as_one_sample():
    graph = trace(nn.Linear(3, 2), torch.rand(3), batched=False)
    assert graph.input.shape == (3,) and output_of(graph, torch.rand(6, 3)).shape == (6, 2)


def test_refusals_name_what_is_wrong():
    class Branch(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    class Noise(nn.Module):
        def forward(self, x):
            return x + torch.rand(3)

    with pytest.raises(ModelError, match="model Branch cannot be exported"):
        trace(Branch(), torch.rand(1, 3))
    with pytest.raises(ModelError, match="graph of Noise differs from the model"):
        trace(Noise(), torch.rand(1, 3))
    with pytest.raises(ModelError, match="hold no sample"):
        trace(nn.Linear(3, 2), torch.rand(0, 3))
    graph = trace(nn.Linear(3, 2), torch.rand(1, 3))
    with pytest.raises(ModelError, match="wrong shape"):
        evaluate_graph(graph, torch.rand(2, 4))


def test_several_inputs_are_named():
    class Two(nn.Module):
        def forward(self, left, right):
            return left + right

    graph = trace(Two(), (torch.rand(1, 3), torch.rand(1, 3)))
    with pytest.raises(ModelError, match="several inputs; found 2"):
        _ = graph.input


def test_gradients_flow_through_the_graph():
    graph = trace(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), torch.rand(1, 3))
    x = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: output_of(graph, z), (x,))
