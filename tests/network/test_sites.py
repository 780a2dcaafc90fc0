"""Sites: every call of every nonlinearity is seen, however it is written."""

import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cutaway.errors import ModelError
from cutaway.network import Network


class Odd(nn.Module):
    """Functional, in-place, reused, method and operator calls, a residual branch, a never-called module."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.act = nn.ReLU()
        self.unused = nn.GELU()
        self.scale = nn.Parameter(torch.ones(1))
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        a = self.act(self.conv(x))
        b = F.leaky_relu(a * self.scale, 0.1)
        c = torch.ops.aten.relu.default(b) + a
        d = F.max_pool2d(self.act(c), 2).clamp(max=5.0)
        e = d.mean(dim=1).flatten(1).relu_()
        f = F.relu(torch.cat([e, e, e, e], dim=1), inplace=True)
        return self.head(f) * torch.exp(self.scale)


def test_every_call_is_a_site_in_order():
    network = Network(Odd().eval(), torch.randn(2, 1, 4, 4))
    assert [s.name for s in network.sites] == [
        "act:relu#0", ".:leaky_relu#0", ".:relu#1", "act:relu#1", ".:max_pool#2", ".:clamp#3", ".:relu#4", ".:relu#5",
    ]  # fmt: skip
    assert [s.in_place for s in network.sites][-2:] == [True, True]
    assert network.piecewise_affine
    assert [(s.what, s.reason) for s in network.skipped] == [("unused", "GELU is never called on the example input")]


def test_parameter_products_are_no_sites_and_data_products_are():
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate, self.up = nn.Linear(4, 6), nn.Linear(4, 6)

        def forward(self, x):
            return F.silu(self.gate(x)) * self.up(x)

    sites = Network(Gate().eval(), torch.randn(2, 4)).sites
    assert [(s.kind, s.gate) for s in sites] == [("silu", True), ("product", False)]
    assert not any(s.piecewise_affine for s in sites)


def test_relu_gate_is_not_piecewise_affine():
    class ReGLU(nn.Module):
        def forward(self, x):
            return F.relu(x) * x

    site = Network(ReGLU(), torch.randn(2, 4)).sites[0]
    assert site.gate
    assert not site.piecewise_affine


def test_attention_module_is_seen_as_a_site():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    kinds = [s.kind for s in Network(layer, torch.randn(2, 5, 16)).sites]
    assert kinds == ["attention", "layer_norm", "relu", "layer_norm"]
    assert torch.backends.mha.get_fastpath_enabled()


def test_exported_program_gives_the_same_kinds(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 3)).eval()
    example = torch.randn(2, 1, 4, 4)
    program = torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    torch.export.save(program, tmp_path / "m.pt2")
    again = torch.export.load(tmp_path / "m.pt2").module()
    assert [s.kind for s in Network(again, example).sites] == [s.kind for s in Network(model, example).sites]


def test_value_changed_in_place_afterwards_is_captured_in_time():
    class Overwrites(nn.Module):
        def forward(self, x):
            y = F.relu(x)
            y += 1.0
            return y

    inputs = torch.randn(3, 4)
    network = Network(Overwrites(), inputs)
    assert network.sites[0].overwritten
    captured = network.capture(inputs)
    assert torch.equal(captured.post[".:relu#0"], inputs.clamp(min=0))


def test_a_value_changed_through_a_view_that_outlives_it_is_captured_in_time():
    class Overwrites(nn.Module):
        def forward(self, x):
            y = F.relu(x)
            view = y.flatten()
            del y
            view += 1.0
            return view.reshape(x.shape)

    inputs = torch.randn(3, 4)
    network = Network(Overwrites(), inputs)
    assert network.sites[0].overwritten
    assert torch.equal(network.capture(inputs).post[".:relu#0"], inputs.clamp(min=0))


def test_finding_the_sites_keeps_no_value_alive():
    """A network's first pass takes the memory of a pass, not that of all of its layers."""
    alive, most = weakref.WeakSet(), 0

    def count(_module, _inputs, output):
        nonlocal most
        alive.add(output.untyped_storage())
        most = max(most, len(alive))

    model = nn.Sequential(*[layer for _ in range(10) for layer in (nn.Linear(8, 8), nn.ReLU())]).eval()
    for layer in model:
        layer.register_forward_hook(count)
    assert len(Network(model, torch.randn(2, 8), probe=False).sites) == 10
    assert most <= 3


def test_captures_equal_hooks_on_the_modules():
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(inplace=True), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)).eval()
    inputs = torch.randn(33, 6)
    kept = {}
    handles = [model[i].register_forward_hook(lambda _m, _i, o, i=i: kept.__setitem__(i, o.clone())) for i in (0, 2)]
    output = model(inputs)
    for handle in handles:
        handle.remove()
    captured = Network(model, inputs).capture(inputs, batch_size=7)
    torch.testing.assert_close(captured.pre["1:relu#0"], kept[0].detach())
    torch.testing.assert_close(captured.pre["3:tanh#0"], kept[2].detach())
    torch.testing.assert_close(captured.post["3:tanh#0"], kept[2].tanh().detach())
    torch.testing.assert_close(captured.output, output.detach())


def test_a_path_that_depends_on_the_data_is_refused():
    class Fickle(nn.Module):
        def forward(self, x):
            return torch.tanh(x) if float(x.detach()[0, 0]) > 10 else torch.relu(x)

    network = Network(Fickle(), torch.zeros(2, 3))
    with pytest.raises(ModelError, match="depends on its data"):
        network.capture(torch.full((2, 3), 11.0))
