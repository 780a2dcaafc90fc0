"""Mutants of the bound engine: each rule outside the elementwise ones (those are in `test_unary`) is broken in one place,
and the probes below must see it.

A mutant replaces one piece of a function's source; its code is swapped in place, so that every reference to the
function is mutated, and restored afterwards. The probes compare bounds with values at points of the region.
"""

from __future__ import annotations
import __future__

import inspect
import textwrap

import pytest
import torch
from torch import nn

from cutaway.network.graph import evaluate_graph, trace
from cutaway.robustness import regions, regions_linear
from cutaway.robustness.bounds import backward, intervals, lowering, maxima, norms, patches, sweep, transpose
from cutaway.robustness.bounds.alpha import AlphaSettings, optimised_rows
from cutaway.robustness.bounds.backward import Choices
from cutaway.robustness.bounds.network import bound_network
from cutaway.robustness.bounds.sweep import SweepSettings, bound_rows
from cutaway.robustness.bounds.sweep import sweep as run_sweep
from cutaway.robustness.regions import ball, box
from cutaway.robustness.regions_linear import Ellipsoid, Hull, RotatedBox


class Products(nn.Module):
    """x y, x^2 y and a matrix product, over factors of every sign."""

    def forward(self, x):
        a, b = x[:, :3], x[:, 3:]
        outer = (a.unsqueeze(2) @ b.unsqueeze(1)).flatten(1)
        return torch.cat([a * b, a * b.roll(1, 1) - b, outer[:, :4]], 1)


class Selections(nn.Module):
    """Maxima, minima, slices, concatenation with a constant, sums, means and transposes."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.tensor([[0.7]]))

    def forward(self, x):
        a, b = x[:, :3], x[:, 3:]
        y = torch.cat([torch.maximum(a, b), torch.minimum(a, b), x.amax(1, keepdim=True), x.amin(1, keepdim=True)], 1)
        z = y.reshape(-1, 2, 2, 2).permute(0, 3, 1, 2).flatten(1)
        y = torch.cat([y, self.token.expand(len(x), 1)], 1)
        return torch.cat([y, z.sum(1, keepdim=True), z[:, 1::2], 2 * z[:, :2] - y[:, :2], z.mean(1, keepdim=True)], 1)


class Picture(nn.Module):
    """Convolution, padding, pooling, residual."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 2, 2, stride=2, padding=1), nn.Conv2d(2, 2, 3, padding=1)
        self.up = nn.ConvTranspose2d(2, 1, 2)

    def forward(self, x):
        y = torch.relu(self.first(nn.functional.pad(x, (1, 0, 0, 1), value=0.5)))
        y = y + self.second(y)
        pooled = nn.functional.avg_pool2d(y, 2, 1)
        return torch.cat(
            [nn.functional.max_pool2d(y, 2, 1, padding=1).flatten(1), pooled.flatten(1), self.up(y).flatten(1)], 1
        )


def chain():
    """Convolutions one after another, through which functionals travel as patches."""
    torch.manual_seed(4)
    first = nn.Conv2d(1, 2, 2, padding=1)
    with torch.no_grad():
        first.weight.mul_(5)  # wide limits, where the two lines of softplus differ
    return nn.Sequential(
        first, nn.Softplus(), nn.Conv2d(2, 2, (2, 3), stride=(1, 2), padding=1), nn.ReLU(),
        nn.Conv2d(2, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(42, 3),
    )  # fmt: skip


def tiles():
    """Max pooling without overlap, through which functionals travel as patches; three colours, not square."""
    torch.manual_seed(6)
    return nn.Sequential(
        nn.Conv2d(1, 3, 2), nn.ReLU(), nn.MaxPool2d((2, 1)), nn.Conv2d(3, 2, 2, padding=1), nn.MaxPool2d(2),
        nn.Conv2d(2, 2, (1, 2)), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


def overhanging():
    """Max pooling whose last windows reach beyond the picture (`ceil_mode`), with convolutions behind it."""
    torch.manual_seed(8)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(2, ceil_mode=True), nn.Conv2d(2, 2, 2), nn.ReLU(), nn.Flatten(),
        nn.Linear(18, 3),
    )  # fmt: skip


class Largest(nn.Module):
    """Maxima over dimensions, beside the values themselves."""

    def forward(self, x):
        y = x.reshape(-1, 2, 3)
        return torch.cat([x, x.amax(1, keepdim=True), y.amax(1), y.amax(2)], 1)


class Normalised(nn.Module):
    """Softmax, log-softmax, layer norm, attention with a causal mask."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(3)

    def forward(self, x):
        y = x.reshape(-1, 2, 3)
        z = nn.functional.scaled_dot_product_attention(y, y, y, is_causal=True)
        parts = [y.softmax(2), self.norm(y), y.log_softmax(1), z]
        return torch.cat([part.flatten(1) for part in parts], 1)


class Norms(nn.Module):
    """Group, instance, RMS and local response norms, and one spelled out."""

    def __init__(self):
        super().__init__()
        self.local, self.root = nn.LocalResponseNorm(4, alpha=2.0, beta=0.75, k=0.7), nn.RMSNorm(3, eps=1e-2)
        self.group, self.instance = nn.GroupNorm(2, 6, eps=1e-2), nn.InstanceNorm1d(2, eps=1e-2, affine=True)

    def forward(self, x):
        y = x.reshape(-1, 2, 3)
        spelled_out = y / (y.square().mean(2, keepdim=True) + 1e-2).sqrt()
        wide = torch.cat([x, 2 * x], 1).reshape(-1, 6, 2)
        parts = [self.local(x.unsqueeze(2)), self.root(y), self.group(wide), self.instance(y), spelled_out]
        return torch.cat([part.flatten(1) for part in parts], 1)


def dense():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 7), nn.ReLU(), nn.Linear(7, 3))


def networks():
    torch.manual_seed(1)
    made = {
        "dense": dense(),
        "products": Products(),
        "selections": Selections(),
        "picture": Picture(),
        "chain": chain(),
        "tiles": tiles(),
        "overhanging": overhanging(),
        "largest": Largest(),
        "normalised": Normalised(),
        "norms": Norms(),
    }
    shapes = {"picture": (1, 4, 4), "chain": (1, 6, 6), "tiles": (1, 7, 6), "overhanging": (1, 7, 7)}
    return {
        k: trace(m.double().eval(), torch.zeros(1, *shapes.get(k, (6,)), dtype=torch.float64)) for k, m in made.items()
    }


@pytest.fixture(scope="module")
def graphs():
    return networks()


def every_region(center):
    """Regions of each kind round the rows of `center`, with their points."""
    generator = torch.Generator().manual_seed(2)
    size = center.shape[1]
    root = torch.randn(size, size, generator=generator, dtype=torch.float64) / size
    basis, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    middle = center @ basis
    some = {
        "linf": ball(center, 0.4, float("inf")),
        "box": box(center - 0.1, center + torch.linspace(0, 1, size, dtype=torch.float64)),
        "l1": ball(center, 0.8, 1.0),
        "l2": ball(center, 0.6, 2.0),
        "ellipsoid": Ellipsoid(center=center, root=root, radius=torch.full((len(center),), 0.7, dtype=torch.float64)),
        "rotated": RotatedBox(basis=basis, low=middle - 0.2, high=middle + 0.4),
        "hull": Hull(
            points=center.unsqueeze(1)
            + 0.5 * torch.randn(len(center), 9, size, generator=generator, dtype=torch.float64)
        ),
        "cut": ball(center, 0.6, 2.0, low=float(center.min()) - 0.1, high=float(center.max()) + 0.1),
    }
    return some, generator


def seen_by(graphs, names=None) -> str:
    """What is broken, or an empty string."""
    for name, graph in graphs.items():
        if names is not None and name not in names:
            continue
        fine = bound_network(graph)
        center = torch.randn(2, fine.graph.input.numel, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        some, generator = every_region(center)
        for kind, region in some.items():
            if kind not in ("linf", "box") and name not in ("dense", "products"):
                continue
            for bounded in (fine, fine.coarse):
                found = broken(bounded, region, generator) if bounded is not None else ""
                if found:
                    return f"{found} of {name}{' (coarse)' if bounded is fine.coarse else ''} over {kind}"
    return ""


def steepest_corners(bounded, region):
    """For every value of every tightened node the two corners that its gradient at the middle points to."""
    middle = (region.lower + region.upper) / 2
    found = []
    for index in bounded.tighten:

        def run(x, index=index):
            return evaluate_graph(bounded.graph, x.reshape(1, *bounded.graph.input.shape[1:]))[index].flatten()

        slopes = torch.stack([torch.autograd.functional.jacobian(run, x) for x in middle])
        for sign in (1, -1):
            found.append(torch.where(sign * slopes > 0, region.lower.unsqueeze(1), region.upper.unsqueeze(1)))
    return torch.cat(found, 1) if found else middle.unsqueeze(1)


def broken(bounded, region, generator) -> str:
    output = bounded.graph.output
    points = region.sample(400, generator)
    if region.is_box:
        side = torch.rand(2, 200, points.shape[2], generator=generator) > 0.5
        points = torch.cat([points, torch.where(side, region.upper.unsqueeze(1), region.lower.unsqueeze(1))], 1)
        points = torch.cat([points, steepest_corners(bounded, region)], 1)
    rows = torch.randn(12, output.numel, generator=generator, dtype=torch.float64)
    rows = torch.cat(
        [torch.eye(output.numel, dtype=torch.float64), -torch.eye(output.numel, dtype=torch.float64), rows]
    )
    rows = rows.reshape(-1, *output.shape)
    points = torch.cat(
        [points, region.minimiser(torch.randn(2, 60, points.shape[2], generator=generator, dtype=torch.float64))], 1
    )
    values = evaluate_graph(bounded.graph, points.reshape(-1, *bounded.graph.input.shape[1:]))
    values = {n.index: values[n.index].reshape(2, -1, *n.shape) for n in bounded.graph.nodes if n.op != "constant"}
    true = values[output.index].flatten(2) @ rows.flatten(1).T
    for method in ("ibp", "crown"):
        limits = run_sweep(bounded, region, SweepSettings(method=method))
        for index, value in values.items():
            low, high = (v[index].unsqueeze(1) for v in (limits.lower, limits.upper))
            if not bool(((value >= low - 1e-9) & (value <= high + 1e-9)).all()):
                return f"{method} limits"
        found = bound_rows(bounded, limits, region, rows, SweepSettings(method=method))
        if not bool((found.unsqueeze(1) <= true + 1e-9).all()):
            return f"{method} rows"
    nodes = [k for k in bounded.tighten if all(bounded.graph.nodes[r].op == "relu" for r in bounded.tighten[k])]
    signs = {k: torch.where(values[k][:, 0] >= 0, 1, -1) for k in nodes}
    follow = torch.ones(true.shape[:2], dtype=torch.bool)
    for k, sign in signs.items():
        follow &= ~((values[k] * sign.unsqueeze(1)) < 0).flatten(2).any(2)
    split = run_sweep(bounded, region, splits=signs)
    betas = {k: 0.3 * v.unsqueeze(1).double() for k, v in signs.items()}
    alphas = {}
    for node in bounded.nonlinear:
        shape = node.shape if node.op == "mul" else bounded.graph.nodes[node.inputs[0]].shape
        alphas[node.index] = torch.rand((2, 1, *shape), generator=generator, dtype=torch.float64)
    found = bound_rows(bounded, split, region, rows, SweepSettings(), Choices(alphas=alphas, betas=betas))
    if not bool((~follow.unsqueeze(2) | (found.unsqueeze(1) <= true + 1e-9)).all()):
        return "rows under decisions"
    tight = optimised_rows(bounded, region, rows, limits, AlphaSettings(steps=1, depth="last"))
    return "" if bool((tight.unsqueeze(1) <= true + 1e-9).all()) else "rows with moved slopes"


# Function, what is replaced in its source, and by what.
MUTANTS = {
    "norms: range too narrow": (norms.largest, "ROUNDING / math.sqrt(w)", "0.7 / math.sqrt(w)"),
    "norms: local range too narrow": (norms.largest, "ROUNDING * math.sqrt(square)", "0.7 * math.sqrt(square)"),
    "norms: range of a layer norm too narrow": (norms.lowered_layer_norm, "size - 1, 0", "size - 2, 0"),
    "norms: taken for centred": (norms.own_limit, "if _centred(", "if not _centred("),
    "norms: sum taken for a mean": (norms.own_limit, 'if node.op == "mean" else', 'if node.op == "sum" else'),
    "products: lower plane's slope": (backward._through_product, "(mix * yl + (1 - mix) * yu, ", "(mix * yu + (1 - mix) * yl, "),
    "products: lower plane's offset dropped": (backward._through_product, "-(mix * xl * yl + (1 - mix) * xu * yu))", "-0.9 * (mix * xl * yl + (1 - mix) * xu * yu))"),
    "products: upper plane's slope": (backward._through_product, "(mix * yu + (1 - mix) * yl, mix", "(mix * yl + (1 - mix) * yu, mix"),
    "products: upper plane's offset": (backward._through_product, "-(mix * xl * yu + (1 - mix) * xu * yl))", "-(mix * xl * yl + (1 - mix) * xu * yu))"),
    "products: planes swapped by sign": (backward._through_product, "positive = a >= 0", "positive = a < 0"),
    "backward: lines swapped by sign": (backward._through, "torch.where(a >= 0, slope_low, slope_high)", "torch.where(a <= 0, slope_low, slope_high)"),
    "backward: upper offset not gathered": (backward._through, "_dot(a.clamp(max=0), offset_high)", "_dot(a.clamp(max=0), 0.9 * offset_high)"),
    "backward: upper offset taken by the wrong sign": (backward._through, "_dot(a.clamp(max=0), offset_high)", "_dot(a.clamp(min=0), offset_high)"),
    "backward: lower offset lost": (backward._through, 'if node.op != "relu":', "if False:"),
    "backward: offset of a linear step lost": (backward._through, "gain = torch.tensordot(a, bounded.offset[node.index], dims=len(node.shape))", "pass"),
    "backward: bias of a picked row lost": (backward._begin, "total = total + f.sign * bounded.offset", "total = total + 0 * bounded.offset"),
    "backward: sign of a picked row": (backward._begin, "rows = f.sign * node", "rows = node"),
    "backward: constants lost": (backward.lower_bound, "total = total + torch.tensordot", "total = total + 0 * torch.tensordot"),
    "backward: second path overwrites the first": (backward.lower_bound, "waiting[source] + part if source in waiting else part", "part"),
    "backward: multiplier of the wrong sign": (backward.lower_bound, "a = a - choices.betas[index]", "a = a + choices.betas[index]"),
    "intervals: radius not absolute": (intervals._linear, "size = bounded.absolute[node.index]", "size = node"),
    "intervals: radius too small": (intervals._linear, "middle - radius - slack, middle + radius + slack", "middle - 0.9 * radius, middle + 0.9 * radius"),
    "intervals: a corner of a product forgotten": (intervals._product, "a * c, a * d, b * c, b * d", "a * c, a * d, b * d"),
    "rows from intervals: ends swapped": (sweep._from_interval, "torch.where(rows >= 0, low, high)", "torch.where(rows >= 0, high, low)"),
    "sweep: decided sign reversed": (sweep._clamp, "torch.where(sign > 0, 0.0, -torch.inf)", "torch.where(sign < 0, 0.0, -torch.inf)"),
    "sweep: upper limit not turned round": (sweep._tighten, "for sign in (1.0, -1.0)", "for sign in (1.0, 1.0)"),
    "sweep: limits joined, not met": (sweep._meet, "torch.where(low > old_low, low, old_low)", "torch.where(low > old_low, low + 0.05, old_low)"),
    "sweep: rows written to the wrong place": (sweep._write_rows, "part.unsqueeze(1) * width + rows", "part.unsqueeze(1) * width + rows.flip(1)"),
    "transpose: concatenation in another order": (transpose._cat, "return list(a.split", "return list(a.flip(-1).split"),
    "transpose: slice off by its start": (transpose._slice, 'slice(d["start"], d["end"], d["step"])', 'slice(d["start"] - (d["start"] > 0), d["end"] - (d["start"] > 0), d["step"])'),
    "transpose: coefficient of a sum lost": (transpose._add, "part if coefficient == 1 else coefficient * part", "part"),
    "transpose: mean as a sum": (transpose._sum, 'a = a / count if node.op == "mean" else a', "pass"),
    "transpose: permutation not inverted": (transpose._permute, "dims.index(d) + 2", "dims[d] + 2"),
    "transpose: positions taken twice counted once": (transpose._take, "whole.index_add(2, node.constants[\"index\"], a.flatten(2))", "whole.index_copy(2, node.constants[\"index\"], a.flatten(2))"),
    "transpose: scale lost": (transpose._scale_shift, 'a = a * node.constants["scale"]', "pass"),
    "transpose: stride of a convolution": (transpose._convolution, 'missing = [shape[2 + d] - reached[d] for d in range(count)]', 'missing = [shape[2 + d] - reached[d] for d in range(count)]\n    weight = weight.flip(-1)'),
    "patches: positions outside the picture kept": (patches.Patch.of.__func__, "if not bool(inside.all()):", "if False:"),
    "patches: rows and columns mixed": (patches.Patch.of.__func__, "height - 1).unsqueeze(2) * width", "height - 1).unsqueeze(2) * height"),
    "patches: start without padding": (patches._begin, "y * step_y - pad_y", "y * step_y"),
    "patches: start with the other stride": (patches._begin, "x * step_x", "x * step_y"),
    "patches: start of the wrong sign": (patches._begin, "sign * start", "start"),
    "patches: bias lost": (patches._through_convolution, "if node.index in bounded.offset:", "if False:"),
    "patches: padding lost on the way": (patches._through_convolution, '- a["padding"][0]', "+ 0"),
    "patches: lines swapped": (patches._through_unary, "above * patch.of_sample(slope_low) + below", "below * patch.of_sample(slope_low) + above"),
    "patches: upper offset lost": (patches._through_unary, "gain = (below * patch.of_sample(offset_high)).sum(1)", "gain = 0 * below.sum(1)"),
    "patches: lower offset too high": (patches._through_unary, "of_sample(offset_low)", "of_sample(1.2 * offset_low)"),
    "patches: limits of another sample": (patches.Patch.of_sample, "self.sample * size", "self.sample.flip(0) * size"),
    "patches: box too small": (patches._least, "(box.high - box.low) / 2", "(box.high - box.low) / 2.2"),
    "patches: samples mixed up": (patches.travel, "reshape(batch, count)\n", "reshape(batch, count).flip(1)\n"),
    "patches: tiles mixed up": (patches._through_maxima, "repeat_interleave(tall, 2).repeat_interleave(wide, 3)", "repeat(1, 1, tall, wide)"),
    "patches: corner of a tile": (patches._through_maxima, "patch.top * tall", "patch.top"),
    "patches: overhang of a pooling not seen": (patches._tiles, "bool(bounded.windows[node.index].counts.all())", "True"),
    "patches: planes of a maximum swapped": (patches._through_maxima, "found.flat >= 0", "found.flat < 0"),
    "patches: offset of a maximum lost": (patches._through_maxima, "gain = (values.clamp(max=0) *", "gain = 0 * (values.clamp(max=0) *"),
    "maxima: planes swapped by sign": (backward._through_maxima, "slopes >= 0", "slopes < 0"),
    "maxima: offset by the wrong sign": (backward._through_maxima, "clamp(max=0)", "clamp(min=0)"),
    "maxima: positions read twice counted once": (backward._through_maxima, "index_add(", "index_copy("),
    "maxima: level too low": (maxima.planes, "torch.maximum(best, high.topk(3, dim=2).values[..., 2:]) if low.shape[2] > 2 else best", "best - 0.3 * (high.amax(2, keepdim=True) - best)"),
    "maxima: slope too small": (maxima.planes, "(high - level) / torch.where", "0.9 * (high - level) / torch.where"),
    "maxima: a value taken for decided": (maxima.planes, ".amax(2, keepdim=True) <= best", ".amax(2, keepdim=True) <= best + 0.2"),
    "maxima: largest lower limit from elsewhere": (maxima.planes, "torch.where(decided, below, above)", "torch.where(decided, below.flip(1), above)"),
    "maxima: interval of the smallest": (maxima.maxima_range, "amax(2)", "amin(2)"),
    "maxima: dimensions of a maximum mixed": (maxima.windows, "permute(*rest, *dims)", "permute(*dims, *rest)"),
    "box: radius halved": (regions.Box.minimum, "(self.high - self.low) / 2", "(self.high - self.low) / 2.2"),
    "ball: norm too small": (regions.Ball.minimum, "p=self._dual", "p=float('inf')"),
    "ball: radius too small": (regions.Ball.minimum, "near - self.radius", "near - 0.9 * self.radius"),
    "ellipsoid: root transposed": (regions_linear.Ellipsoid.minimum, "functionals @ self.root)", "functionals @ self.root.mT)"),
    "ellipsoid: box around it too small": (regions_linear.Ellipsoid._reach.fget, "self.root.norm(dim=-1)", "self.root.norm(dim=-2)"),
    "rotated box: seen from the wrong side": (regions_linear.RotatedBox.minimum, "seen = functionals @ self.basis", "seen = functionals @ self.basis.mT"),
    "rotated box: box around it too small": (regions_linear.RotatedBox._reach.fget, "self.basis.abs().mT", "self.basis.mT.abs() * 0.9"),
    "hull: largest instead of smallest": (regions_linear.Hull.minimum, "amin(-1)", "amax(-1)"),
    "intersection: sum of the members' minima": (regions.Intersection.minimum, ".amax(0)", ".sum(0) + 1"),
}  # fmt: skip

# Rewrites are exact, so a wrong one changes the graph's values: seen by comparing with the module.
REWRITES = {
    "maximum becomes a minimum": (lowering._maximum, 'b.emit("add", x, y, coefficients=(1, -1))', 'b.emit("add", y, x, coefficients=(1, -1))'),
    "minimum becomes a maximum": (lowering._rule_minimum, "b.emit(\"add\", y, positive", "b.emit(\"add\", x, positive"),
    "largest of three forgets the last": (lowering._largest_of_last, "b.emit(\"cat\", pair, parts[2], dim=dim) if len(parts) == 3 else pair", "pair"),
    "pooling window starts elsewhere": (maxima.pooling_windows, '* a["stride"][d] - before', '* a["stride"][d] - 0 * before'),
    "matrix product without transposition": (lowering._rule_matmul, "len(right) - 1, len(right) - 2", "len(right) - 2, len(right) - 1"),
    "softmax without its own term": (lowering._odds, 'constants={"shift": 1.0}', 'constants={"shift": 0.5}'),
    "softmax differences reversed": (lowering._odds, "coefficients=(1, -1)", "coefficients=(-1, 1)"),
    "log-softmax of the wrong sign": (lowering._rule_log_softmax, '{"scale": -1.0}', '{"scale": 1.0}'),
    "layer norm without epsilon": (norms.lowered_layer_norm, 'node.attributes["eps"]', "0.1"),
    "local response norm of twice the window": (norms.lowered_response_norm, 'a["alpha"] / a["size"])', '2 * a["alpha"] / a["size"])'),
    "local response norm without its constant": (norms.lowered_response_norm, '{"shift": a["k"]}', '{"shift": 0.1}'),
    "local response norm of the other power": (norms.lowered_response_norm, 'exponent=-float(a["beta"])', 'exponent=-1.0'),
    "local response norm one channel off": (norms.lowered_response_norm, '-(a["size"] // 2)', '1 - (a["size"] // 2)'),
    "one over the root becomes the root": (norms.reciprocal, '"rsqrt", Ref', '"sqrt", Ref'),
    "layer norm not centred": (norms.lowered_layer_norm, "- 1.0 / size", "- 0.9 / size"),
}  # fmt: skip


def mutated(function, old: str, new: str):
    """The function's code object with a piece of its source replaced."""
    source = textwrap.dedent(inspect.getsource(function))
    assert old in source, f"the source of {function.__name__} has no {old!r} any more: mend the mutant"
    text = source.replace(old, new).replace("@property\n", "").replace("@classmethod\n", "")
    space = dict(function.__globals__)
    code = compile(text, f"<mutant of {function.__name__}>", "exec", flags=__future__.annotations.compiler_flag)
    exec(code, space)
    return space[function.__name__].__code__


@pytest.fixture
def mutate():
    """Swap a function's code; put back at the end."""
    changed = []

    def swap(function, old, new):
        changed.append((function, function.__code__))
        function.__code__ = mutated(function, old, new)

    yield swap
    for function, code in reversed(changed):
        function.__code__ = code


def test_nothing_is_broken_without_a_mutant(graphs):
    assert seen_by(graphs) == ""


def failing(probe) -> str:
    """What the probe says; a crash is a way of being seen as well."""
    try:
        return probe()
    except (RuntimeError, IndexError, ValueError, AssertionError, TypeError) as error:
        return f"{type(error).__name__}: {error}"


LIKELY = {
    "products": ("products",),
    "norms": ("norms", "normalised"),
    "maxima": ("largest", "selections"),
    "patches": ("chain", "tiles", "overhanging", "picture"),
}
"""Room of a mutant -> the networks that are tried first."""


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_of_the_engine_is_seen(name, graphs, mutate):
    mutate(*MUTANTS[name])
    first = {k: graphs[k] for k in LIKELY.get(name.partition(":")[0], ())}
    assert failing(lambda: seen_by(first | graphs)), name


@pytest.mark.parametrize("name", REWRITES)
def test_a_wrong_rewrite_is_seen(name, graphs, mutate):
    points = {
        k: torch.randn(40, *g.input.shape[1:], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        for k, g in graphs.items()
    }

    def differs() -> str:
        for k, graph in graphs.items():
            true = evaluate_graph(graph, points[k])[graph.output.index]
            bounded = bound_network(graph).graph
            if not torch.allclose(
                evaluate_graph(bounded, points[k])[bounded.output.index].reshape(true.shape), true, atol=1e-9
            ):
                return k
        return ""

    assert differs() == ""
    mutate(*REWRITES[name])
    assert failing(differs), name
