"""Live connections equal brute-force enumeration of paths, on every kind of wiring that the graph knows."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.evidence import NULLS, replicates
from cutaway.instruments.structure.effective_sparsity import EffectiveSparsity
from cutaway.network import Network
from cutaway.structure.live import live_connections
from cutaway.structure.wiring import wire


class Paths:
    """The oracle: a network written out number by number, and all its paths walked one after the other.

    `edges`: (from, to, weight's name and place, or None for a connection without weight).
    """

    def __init__(self):
        self.edges = []

    def linear(self, name, sources, shape):
        out = [(name, o) for o in range(shape[0])]
        self.edges += [(s, t, (name, o, i)) for o, t in enumerate(out) for i, s in enumerate(sources)]
        return out

    def link(self, source, target):
        self.edges.append((source, target, None))

    def conv(self, name, sources, shape, padding, stride, groups=1):
        """`sources[channel][row][column]`; shape (out, in / groups, kernel, kernel)."""
        out_channels, per_group, size, _ = shape
        high, wide = len(sources[0]), len(sources[0][0])
        rows = (high + 2 * padding - size) // stride + 1
        columns = (wide + 2 * padding - size) // stride + 1
        out = [[[(name, o, r, c) for c in range(columns)] for r in range(rows)] for o in range(out_channels)]
        for o, r, c, i, a, b in itertools.product(
            range(out_channels), range(rows), range(columns), range(per_group), range(size), range(size)
        ):
            y, x = r * stride + a - padding, c * stride + b - padding
            if 0 <= y < high and 0 <= x < wide:
                channel = o // (out_channels // groups) * per_group + i
                self.edges.append((sources[channel][y][x], out[o][r][c], (name, o, i, a, b)))
        return out

    def active(self, masks, inputs, outputs, cut=frozenset()):
        """Places of weights that some walk from an input to an output goes over."""
        steps = {}
        for source, target, place in self.edges:
            alive = place is None or bool(masks[place[0]][place[1:]])
            if alive and source not in cut and target not in cut:
                steps.setdefault(source, []).append((target, place))
        ends, found = set(outputs), set()

        def walk(node, taken):
            if node in ends:
                found.update(taken)
            for target, place in steps.get(node, ()):
                walk(target, taken if place is None else (*taken, place))

        for node in inputs:
            walk(node, ())
        return found


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x):
        h = torch.relu(self.a(x))
        return self.c(h + torch.relu(self.b(h)))


class Concatenated(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 5), nn.Linear(5, 4), nn.Linear(8, 3)

    def forward(self, x):
        return self.c(torch.cat([torch.tanh(self.b(torch.relu(self.a(x)))), x], dim=1))


class Convolved(nn.Module):
    """Padding, stride, depthwise, batch normalisation with scales of zero, pooling."""

    def __init__(self):
        super().__init__()
        self.a, self.n = nn.Conv2d(1, 3, 3, padding=1, stride=2), nn.BatchNorm2d(3)
        self.b = nn.Conv2d(3, 3, 3, padding=1, groups=3)
        self.c = nn.Linear(3, 2)

    def forward(self, x):
        x = torch.relu(self.n(self.a(x)))
        return self.c(nn.functional.max_pool2d(self.b(x), 2).flatten(1))


def mlp():
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 3))


def by_hand(kind, model, masks):
    """The oracle's answer for one of the networks above."""
    paths, cut = Paths(), set()
    if kind == "convolved":
        pixels = [[[("x", r, c) for c in range(3)] for r in range(3)]]
        first = paths.conv("a.weight", pixels, (3, 1, 3, 3), 1, 2)
        for channel in (model.n.weight == 0).nonzero().flatten().tolist():
            cut.update(itertools.chain(*first[channel]))
        second = paths.conv("b.weight", first, (3, 1, 3, 3), 1, 1, groups=3)
        pooled = [("pool", k) for k in range(3)]
        for channel, target in zip(second, pooled, strict=True):
            for source in itertools.chain(*channel):
                paths.link(source, target)
        out = paths.linear("c.weight", pooled, (2, 3))
        return paths.active(masks, itertools.chain(*pixels[0]), out, cut)
    inputs = [("x", i) for i in range(4)]
    if kind == "mlp":
        h = paths.linear("0.weight", inputs, (6, 4))
        out = paths.linear("4.weight", paths.linear("2.weight", h, (5, 6)), (3, 5))
    elif kind == "residual":
        h = paths.linear("a.weight", inputs, (5, 4))
        joined = [("sum", k) for k in range(5)]
        for one, two, target in zip(h, paths.linear("b.weight", h, (5, 5)), joined, strict=True):
            paths.link(one, target), paths.link(two, target)
        out = paths.linear("c.weight", joined, (3, 5))
    else:
        h = paths.linear("b.weight", paths.linear("a.weight", inputs, (5, 4)), (4, 5))
        out = paths.linear("c.weight", [*h, *inputs], (3, 8))
    return paths.active(masks, inputs, out)


MAKERS = {"mlp": mlp, "residual": Residual, "concatenated": Concatenated, "convolved": Convolved}


def check_masks(kind, draws, seed):
    torch.manual_seed(seed)
    model = MAKERS[kind]().eval()
    assert sum(p.numel() for p in model.parameters()) <= 200
    inputs = torch.rand(2, 1, 3, 3) if kind == "convolved" else torch.rand(2, 4)
    wiring = wire(Network(model, inputs))
    for draw in range(draws):
        if kind == "convolved" and draw % 8 == 0:
            with torch.no_grad():
                model.n.weight.copy_((torch.rand(3) < 0.7).float())
            wiring = wire(Network(model, inputs))
        density = float(torch.rand(()) * 0.9 + 0.05)
        masks = {name: torch.rand(shape) < density for name, shape in wiring.shapes.items()}
        found = live_connections(wiring, masks)
        ours = {(name, *place) for name, mask in found.active.items() for place in mask.nonzero().tolist()}
        assert ours == by_hand(kind, model, masks), (kind, draw)


@pytest.mark.parametrize("kind", MAKERS)
def test_active_weights_are_those_on_a_path(kind):
    check_masks(kind, 16, 0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAKERS)
def test_active_weights_are_those_on_a_path_on_five_hundred_masks(kind):
    check_masks(kind, 125, 1)


def test_the_residual_oracle_tells_a_lost_connection(monkeypatch):
    """Without the second operand of sums the equality above breaks."""
    from cutaway.structure import spread

    monkeypatch.setitem(spread._RULES, "add", lambda n, v, w, z: v[1])
    with pytest.raises(AssertionError):
        check_masks("residual", 16, 0)


def channel_masks(model, share, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                keep = torch.rand(module.weight.shape[0], generator=generator) < share
                module.weight *= keep[:, None, None, None]


def test_resnet20_equals_the_probe_with_positive_weights():
    """Kempe's exact test: |W|, no batch norm, no kinks, ones in; a weight is active where |w| dR/d|w| is not zero."""
    from cutaway.training.models import build_model

    model = build_model("resnet20", (3, 16, 16), 10, seed=0, width=4).eval()
    channel_masks(model, 0.6, 0)
    live = live_connections(wire(Network(model, torch.rand(2, 3, 16, 16))))
    probe = build_model("resnet20", (3, 16, 16), 10, seed=0, width=4).double().eval()
    probe.load_state_dict(model.state_dict())
    for module in probe.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d | nn.ReLU):
                setattr(module, name, nn.Identity())
    named = dict(probe.named_parameters())
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.abs_() if name.endswith("weight") else parameter.zero_()
    probe(torch.ones(1, 3, 16, 16, dtype=torch.float64)).sum().backward()
    assert 1 < live.direct < live.effective < math.inf
    for name, active in live.active.items():
        wanted = named[name].grad * named[name] != 0
        assert torch.equal(active, wanted), name


def test_masks_of_torch_prune_count_as_zeros():
    torch.manual_seed(0)
    model = mlp().eval()
    for layer in (model[0], model[2]):
        prune.random_unstructured(layer, "weight", 0.6)
    model(torch.rand(2, 4))  # what pruning puts in place carries a gradient
    network = Network(model, torch.rand(2, 4))
    masked = live_connections(wire(network))
    for layer in (model[0], model[2]):
        prune.remove(layer, "weight")
    plain = live_connections(wire(Network(model, torch.rand(2, 4))))
    assert masked.kept == plain.kept and masked.num_active == plain.num_active and masked.direct > 1


def test_tied_and_transposed_weights_are_one():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.table = nn.Linear(4, 4), nn.Parameter(torch.rand(4, 4))

        def forward(self, x):
            return self.a(torch.relu(self.a(x))) @ self.table

    wiring = wire(Network(Tied().eval(), torch.rand(2, 4)))
    assert wiring.shapes == {"a.weight": (4, 4), "table": (4, 4)} and wiring.total == 32
    assert len(wiring.weights["a.weight"].nodes) == 2 and wiring.positions("a.weight") == 2


def test_weights_that_stand_for_other_units_elsewhere_are_read():
    """An autoencoder's tied weights, an embedding that is the output layer too: 6 units of the last use, of 4 before."""

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.m = nn.Linear(6, 4, bias=False), nn.Linear(4, 4)

        def forward(self, x):
            return torch.relu(self.m(torch.relu(self.a(x)))) @ self.a.weight

    live = live_connections(wire(Network(Tied().eval(), torch.rand(2, 6))))
    assert live.units["a.weight"] == (6, 6) and live.units["m.weight"][1] == 4


def test_a_factor_of_zero_cuts_what_it_multiplies():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.gate, self.c = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2)
            nn.init.zeros_(self.gate.weight)
            with torch.no_grad():
                self.gate.bias.copy_(torch.tensor([0.0, 1.0, 0.0, -1.0]))

        def forward(self, x):
            return self.c(self.a(x) * torch.relu(self.gate(x)))

    live = live_connections(wire(Network(Gated().eval(), torch.rand(2, 3))))
    assert live.active["a.weight"].any(dim=1).tolist() == [False, True, False, False]
    assert live.active["c.weight"].any(dim=0).tolist() == [False, True, False, False]


def data(columns=4):
    return Dataset(name="d", inputs=torch.rand(12, columns), labels=torch.arange(12) % 3)


def test_a_cut_network_has_infinite_compression_in_words():
    model = mlp().eval()
    with torch.no_grad():
        model[2].weight.zero_()
    reading = EffectiveSparsity().measure(model, data())
    assert math.isinf(reading.figure("effective_compression").value)
    assert reading.figure("outputs_cut_off").value == 3 and reading.figure("direct_compression").value < 3
    assert reading.figure("disconnected").value == 1 and "infinite" in EffectiveSparsity().describe(reading)
    said = reading.summary()
    assert "(weights over those on a path), infinite: the network is disconnected: infinite" in said
    assert "share of units on no path: 1" in said and "outputs, of 3, that no input reaches: 3" in said
    assert " inf" not in said.replace(" infinite", "")


def test_random_masks_say_how_often_they_disconnect():
    """One path is left of a network of three layers: few masks of as many zeros leave any."""
    model = nn.Sequential(*(nn.Linear(6, 6, bias=False) for _ in range(3))).eval()
    with torch.no_grad():
        for layer in model:
            layer.weight.zero_()[0, 0] = 1.0
    reading = EffectiveSparsity().measure(model, data(6))
    network = Network(model, data(6).inputs[:2])
    null = replicates(EffectiveSparsity(), network, data(6), NULLS["random-mask"], count=9)
    found = reading.against(null, null="random-mask").figure("disconnected")
    assert found.value == 0 and found.null_median == 1 and found.p_value == pytest.approx(0.1)


@pytest.mark.parametrize("zeroed", [0, 1])
def test_says_that_nothing_is_pruned_only_where_no_weight_is_zero(zeroed):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(5), nn.ReLU(), nn.Linear(5, 2)).eval()
    model(data().inputs[:2])
    model[3].weight.data[0, :zeroed] = 0
    said = EffectiveSparsity().describe(EffectiveSparsity().measure(model, data()))
    assert ("Nothing of it is pruned" in said) == (zeroed == 0)


def test_float16_and_unknown_operators():
    model = mlp().eval()
    with torch.no_grad():
        model[0].weight[:, 0] = 0
    wide = EffectiveSparsity().measure(model, data())
    half = EffectiveSparsity().measure(model.bfloat16(), data())
    assert half.figure("effective_compression").value == wide.figure("effective_compression").value == 69 / 63

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(4, 4)

        def forward(self, x):
            return torch.linalg.vector_norm(self.a(x), dim=1, keepdim=True).sort(dim=1)[0]

    reading = EffectiveSparsity().measure(Odd().eval(), data())
    assert reading.status.value == "unsupported" and "connections are known" in reading.reason


def test_a_budget_below_the_weights_is_told():
    from cutaway.errors import BudgetError

    network = Network(mlp().eval(), torch.rand(2, 4))
    with pytest.raises(BudgetError):
        wire(network, budget=100)


def test_the_null_keeps_every_layers_zeros_and_values():

    torch.manual_seed(0)
    model = mlp().eval()
    prune.random_unstructured(model[0], "weight", 0.5)
    network = Network(model, torch.rand(2, 4))
    twin, _ = NULLS["random-mask"].draw(network, data(), 3)
    ours, theirs = live_connections(wire(network)), live_connections(wire(twin))
    assert ours.kept == theirs.kept
    assert torch.equal(model[2].weight.flatten().sort()[0], twin.model[2].weight.flatten().sort()[0])
    assert not torch.equal(model[0].weight_mask, twin.model[0].weight_mask)


def test_bad_scores_and_targets_are_refused():
    from cutaway.structure.densities import quotas
    from cutaway.structure.pruning import magnitude, prune_to_effective

    wiring = wire(Network(mlp().eval(), torch.rand(2, 4)))
    scores = magnitude(wiring)
    with pytest.raises(InputError, match="at least 1"):
        prune_to_effective(wiring, scores, 0.5)
    with pytest.raises(InputError, match="expected 0.weight"):
        prune_to_effective(wiring, {"0.weight": scores["0.weight"]}, 2)
    with pytest.raises(InputError, match="NaN"):
        prune_to_effective(wiring, {**scores, "4.weight": scores["4.weight"] * math.nan}, 2)
    with pytest.raises(InputError, match="igq, erk, uniform"):
        quotas("erks", wiring.shapes, 2)


def test_what_is_gone_already_is_never_kept():
    from cutaway.structure.pruning import magnitude, prune_to_effective

    wiring = wire(Network(mlp().eval(), torch.rand(2, 4)))
    scores = magnitude(wiring)
    gone = {name: score.masked_fill(score < score.median(), -math.inf) for name, score in scores.items()}
    kept = prune_to_effective(wiring, gone, 1.0)
    assert all(bool((gone[name][mask] > -math.inf).all()) for name, mask in kept.items())
    assert sum(int(mask.sum()) for mask in kept.values()) == sum(int((s > -math.inf).sum()) for s in gone.values())


@pytest.mark.parametrize("kind", MAKERS)
def test_an_exported_network_is_smaller_and_the_same(kind, tmp_path):
    from cutaway.structure.export import export_pruned, load_pruned

    torch.manual_seed(3)
    model = MAKERS[kind]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter *= torch.rand_like(parameter) < 0.35
        if kind == "mlp":  # one unit that only its bias feeds
            model[0].weight[0] = 0
            model[2].weight[:, 0] = 1.0
    inputs = torch.rand(20, 1, 3, 3) if kind == "convolved" else torch.rand(20, 4)
    network = Network(model, inputs[:2])
    made = export_pruned(network, inputs, tmp_path / "net")
    assert made.active <= made.kept <= made.not_zero < made.weights and made.operations < made.operations_dense
    twin = MAKERS[kind]().eval()
    twin.load_state_dict(load_pruned(tmp_path / "net"))
    with torch.no_grad():
        assert torch.allclose(twin(inputs), model(inputs), atol=1e-5)
    if kind == "mlp":
        assert made.kept == made.active < made.not_zero


def test_an_exported_file_is_data(tmp_path):
    from safetensors.torch import save_file

    from cutaway.errors import FileError
    from cutaway.structure.export import FORMAT, load_pruned

    (tmp_path / "junk").write_bytes(b"junk")
    save_file({"a": torch.ones(2)}, str(tmp_path / "other"))
    parts = {"w::values": torch.ones(2), "w::places": torch.tensor([0, 70])}
    save_file(parts, str(tmp_path / "wild"), {"format": FORMAT, "shapes": '{"w": [8, 8]}'})
    for name in ("junk", "other", "wild", "missing"):
        with pytest.raises(FileError):
            load_pruned(tmp_path / name)


def test_a_pruned_file_that_unpacks_to_more_than_there_is_room_for_is_refused(tmp_path):
    import json

    from safetensors.torch import save_file

    from cutaway.errors import FileError
    from cutaway.structure import export

    facts = {"format": export.FORMAT, "shapes": json.dumps({"w": [10**6, 10**6]})}
    save_file({"w::values": torch.ones(1), "w::places": torch.zeros(1, dtype=torch.int64)}, tmp_path / "f", facts)
    with pytest.raises(FileError, match="unpacked"):
        export.load_pruned(tmp_path / "f")
