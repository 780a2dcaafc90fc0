"""Kolmogorov-Arnold networks as ReLU networks: an edge function that is linear between knots is one ReLU a knot.

    f(x) = sum_m s_m relu(x - t_m) + base(x),   s_m the change of slope at knot t_m

A B-spline of order 1 on a grid t_0 .. t_M is 0 at both ends and its coefficients between, so the equality is exact;
splines of higher order and curved base functions are not piecewise affine and become so only approximately. Layers are
told by their tensors: `grid` (I, M + 1), `coef` (I, O, M - k), `scale_base`, `scale_sp`, `mask`, `base_fun`, `k`
(pykan), or `grid`, `spline_weight` (O, I, M - k), `base_weight`, `spline_order`, `base_activation` (efficient-kan).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.interpolate import BSpline
from torch import Tensor, nn

from cutaway.arrays import Floats
from cutaway.errors import ClaimError, InputError, ModelError, NotPiecewiseAffine
from cutaway.network.outputs import first_tensor

TOLERANCE = 1e-10
"""Difference of an exact conversion from its network, over the largest output, that is no rounding."""


class ReluEdges(nn.Module):
    """y = W relu(x_i - t) + S x + b over (n, I): the edges of one KAN layer; `straight` None where no edge needs it."""

    def __init__(self, knots: nn.Linear, out: nn.Linear, straight: nn.Linear | None) -> None:
        super().__init__()
        self.knots, self.out, self.straight = knots, out, straight

    def forward(self, inputs: Tensor) -> Tensor:
        bent = self.out(torch.relu(self.knots(inputs)))
        return bent if self.straight is None else bent + self.straight(inputs)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KanConversion:
    """`model`: the ReLU network; `exact`: whether it equals the KAN up to rounding; `error`: the largest difference
    seen at 256 random points of the first layer's grid, where it is exact of twice that range (an estimate, no bound;
    NaN, not checked, where other layers come before); `units`: number of ReLUs."""

    model: nn.Module
    exact: bool
    error: float
    units: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Edges:
    """One layer in the words of neither library: grid (I, M + 1), coefficients (I, O, M - k) and base scale (I, O)."""

    grid: Floats
    coef: Floats
    base: Floats
    function: Any
    order: int


def kan_to_relu(model: nn.Module, *, pieces: int | None = None) -> KanConversion:
    """A ReLU network, in double precision, that computes what a KAN of linear splines does; `model` stays as it was.

    Exact up to rounding for splines of order 1 with base functions that are zero, the identity, ReLU or LeakyReLU;
    checked at 256 random points. pieces: for higher orders and other base functions, straight pieces a grid interval:
    then an estimate. Cost: one ReLU a knot and input. Raises `NotPiecewiseAffine` for what is curved where `pieces` is
    None, and for order 0, which jumps; `ModelError` for a model without KAN layers, with products of nodes or with
    symbolic edges; `InputError` for `pieces` below 1; `ClaimError` where the values at those
    points differ. Source: ours, derived in the file's first lines; networks as in
    Liu et al. (arXiv 2404.19756).
    """
    if pieces is not None and pieces < 1:
        raise InputError(
            "pieces", found=str(pieces), expected="at least 1", remedy="give pieces a grid interval, or None"
        )
    made = _converted(model, pieces)
    layers = [m for m in made.modules() if isinstance(m, ReluEdges)]
    if not layers:
        raise ModelError(
            f"model {type(model).__name__}",
            found="no KAN layer",
            expected="modules with a grid and spline coefficients (pykan, efficient-kan)",
            remedy="geometry reads ReLU networks as they are; rational and other KANs have no exact form",
        )
    first = next(_edges(m) for m in model.modules() if _is_layer(m))
    low, high = (torch.as_tensor(f(first.grid, axis=1)) for f in (np.min, np.max))
    draws = torch.rand(256, len(low), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    around = 0.5 * (high - low) if pieces is None else torch.zeros_like(low)  # an estimate is one on the grid alone
    inputs, whole = low - around + (high - low + 2 * around) * draws, copy.deepcopy(model).double().eval()
    direct = _is_layer(next(iter(model.modules()))) or hasattr(model, "act_fun") or _leads(model)
    error = float("nan")
    if direct:
        with torch.no_grad():
            want, got = first_tensor(whole(inputs)), made(inputs)
        error = float((want - got).abs().max())
        if pieces is None and error > TOLERANCE * max(1.0, float(want.abs().max())):
            raise ClaimError(
                f"conversion of {type(model).__name__}",
                found=f"a difference of {error:.3g} from the network",
                expected="equality up to rounding",
                remedy="please report the model: a layer was read wrongly",
            )
    return KanConversion(model=made, exact=pieces is None, error=error, units=sum(m.knots.out_features for m in layers))


def _leads(model: nn.Module) -> bool:
    """Whether the first module with parameters of its own is a KAN layer, so that its grid is the input's."""
    own = (m for m in model.modules() if any(True for _ in m.parameters(recurse=False)))
    return _is_layer(next(own, model))


def _is_layer(module: nn.Module) -> bool:
    return isinstance(getattr(module, "grid", None), Tensor) and any(
        isinstance(getattr(module, name, None), Tensor) for name in ("coef", "spline_weight")
    )


def _converted(model: nn.Module, pieces: int | None) -> nn.Module:
    """A copy with every KAN layer replaced; a whole pykan network becomes a Sequential."""
    if hasattr(model, "act_fun") and hasattr(model, "symbolic_fun"):
        return _pykan(model, pieces)
    if _is_layer(model):
        return _relu_edges(_edges(model), pieces)
    made = copy.deepcopy(model).double().eval()
    for path, module in list(made.named_modules()):
        if _is_layer(module) or (path and hasattr(module, "act_fun")):
            parent = made.get_submodule(path.rpartition(".")[0])
            setattr(parent, path.rpartition(".")[2], _converted(module, pieces))
    return made


def _pykan(model: Any, pieces: int | None) -> nn.Module:
    steps: list[nn.Module] = []
    if any(isinstance(w, list | tuple) and len(w) > 1 and w[1] for w in model.width):
        raise ModelError(
            f"model {type(model).__name__}",
            found=f"nodes that multiply (width {model.width})",
            expected="nodes that add",
            remedy="train the network without multiplication nodes",
        )
    for k, layer in enumerate(model.act_fun):
        if bool((model.symbolic_fun[k].mask != 0).any()):
            raise ModelError(
                f"layer {k} of {type(model).__name__}",
                found="symbolic edges",
                expected="spline edges only",
                remedy="convert the network before its edges are fixed to formulas",
            )
        edges = _relu_edges(_edges(layer), pieces)
        if k == 0:
            _select_inputs(edges, model.input_id.long(), int(model.input_id.max()) + 1)
        for scale, shift in ((model.subnode_scale, model.subnode_bias), (model.node_scale, model.node_bias)):
            _scale_out(edges, scale[k].detach().double(), shift[k].detach().double())
        steps.append(edges)
    return nn.Sequential(*steps).eval()


def _select_inputs(edges: ReluEdges, chosen: Tensor, count: int) -> None:
    for part in (edges.knots, edges.straight):
        if part is not None and count > part.in_features:
            wide = torch.zeros(part.out_features, count, dtype=torch.float64)
            wide[:, chosen] = part.weight.data
            part.weight, part.in_features = nn.Parameter(wide), count


def _scale_out(edges: ReluEdges, scale: Tensor, shift: Tensor) -> None:
    with torch.no_grad():
        edges.out.weight.mul_(scale[:, None])
        edges.out.bias.mul_(scale).add_(shift)
        if edges.straight is not None:
            edges.straight.weight.mul_(scale[:, None])


def _edges(layer: Any) -> _Edges:
    def array(value: Any) -> Floats:
        return value.detach().double().cpu().numpy()

    if isinstance(getattr(layer, "coef", None), Tensor):
        mask = array(layer.mask)
        coef = array(layer.coef) * (array(layer.scale_sp) * mask)[..., None]
        base, function, order = array(layer.scale_base) * mask, layer.base_fun, int(layer.k)
    else:
        scaler = getattr(layer, "spline_scaler", None)
        weight = array(layer.spline_weight) * (1.0 if scaler is None else array(scaler)[..., None])
        coef, base = weight.transpose(1, 0, 2), array(layer.base_weight).T
        function, order = layer.base_activation, int(layer.spline_order)
    grid = array(layer.grid)
    if grid.shape[1] - order - 1 != coef.shape[2] or order < 0:
        raise ModelError(
            f"layer {type(layer).__name__}",
            found=f"{grid.shape[1]} grid points and {coef.shape[2]} coefficients for order {order}",
            expected="order + 1 grid points more than coefficients",
            remedy="give the extended grid that the layer evaluates on",
        )
    return _Edges(grid=grid, coef=coef, base=base, function=function, order=order)


def _relu_edges(edges: _Edges, pieces: int | None) -> ReluEdges:
    if edges.order == 0 or (edges.order > 1 and pieces is None):
        raise NotPiecewiseAffine(
            "splines of a KAN",
            found=f"order {edges.order}, which {'jumps' if edges.order == 0 else 'is curved'}",
            expected="order 1: linear between knots",
            remedy="train with k=1, or give `pieces` for an estimate by straight pieces",
        )
    inputs, outputs = edges.base.shape
    line, bent = _base(edges, pieces)
    rows, starts, weights = [], [], []
    shift = np.zeros(outputs)
    for i in range(inputs):
        knots, values = _polyline(edges, i, pieces if edges.order > 1 or bent is not None else None)
        if bent is not None:
            values = values + edges.base[i][:, None] * bent(knots)
        slopes = np.diff(values, axis=1) / np.diff(knots)
        outside = (slopes[:, :1], slopes[:, -1:]) if bent is not None else (0 * slopes[:, :1], 0 * slopes[:, :1])
        change = np.diff(np.concatenate([outside[0], slopes, outside[1]], axis=1), axis=1)
        if bent is not None:  # the first slope goes on to the left of the first knot
            line[i] += slopes[:, 0]
            shift += values[:, 0] - slopes[:, 0] * knots[0]
        if bend := _kink(edges):
            knots = np.append(knots, 0.0)
            change = np.concatenate([change, (bend * edges.base[i])[:, None]], axis=1)
        for t, c in zip(knots, change.T, strict=True):
            if np.abs(c).max() > 0:
                rows.append(i)
                starts.append(t)
                weights.append(c)
    return _module(inputs, outputs, rows, starts, weights, line, shift)


def _module(inputs: int, outputs: int, rows, starts, weights, line: Floats, shift: Floats) -> ReluEdges:
    knots, out = nn.Linear(inputs, len(rows)).double(), nn.Linear(len(rows), outputs).double()
    with torch.no_grad():
        knots.weight.zero_()
        knots.weight[torch.arange(len(rows)), torch.tensor(rows, dtype=torch.int64)] = 1.0
        knots.bias.copy_(-torch.tensor(np.array(starts)))
        out.weight.copy_(torch.tensor(np.array(weights).reshape(len(rows), outputs).T))
        out.bias.copy_(torch.tensor(shift))
    straight = None
    if np.abs(line).max() > 0:
        straight = nn.Linear(inputs, outputs, bias=False).double()
        straight.weight = nn.Parameter(torch.tensor(line.T.copy()))
    return ReluEdges(knots, out, straight).eval()


def _polyline(edges: _Edges, i: int, pieces: int | None) -> tuple[Floats, Floats]:
    """Knots (K,) and values (O, K) of the splines of input i."""
    grid, k = edges.grid[i], edges.order
    if pieces is None:
        return grid, np.pad(edges.coef[i], ((0, 0), (1, 1)))
    share = np.arange(pieces) / pieces
    knots = np.append((grid[:-1, None] + np.diff(grid)[:, None] * share).ravel(), grid[-1])
    return knots, _terms(grid, edges.coef[i], k, knots)


def _terms(grid: Floats, coef: Floats, order: int, at: Floats) -> Floats:
    """(O, K): sum of coefficients times basis functions, each 0 outside its own support."""
    own = (BSpline.basis_element(grid[c : c + order + 2], extrapolate=False)(at) for c in range(coef.shape[1]))
    return coef @ np.nan_to_num(np.stack(list(own)))


def _kink(edges: _Edges) -> float:
    """Change of slope of the base function at 0."""
    if not edges.base.any():
        return 0.0
    if isinstance(edges.function, nn.ReLU) or edges.function in (torch.relu, nn.functional.relu):
        return 1.0
    return 1.0 - float(edges.function.negative_slope) if isinstance(edges.function, nn.LeakyReLU) else 0.0


def _base(edges: _Edges, pieces: int | None):
    """(I, O) slopes of the base function's straight part, and the function itself where it is bent elsewhere."""
    function, nothing = edges.function, np.zeros_like(edges.base)
    some = torch.logspace(-8, 30, 200, dtype=torch.float64)
    if not edges.base.any() or _kink(edges) == 1.0:
        return nothing, None
    if isinstance(function, nn.LeakyReLU):
        return edges.base * float(function.negative_slope), None
    with torch.no_grad():
        seen = function(torch.cat([-some, torch.zeros(1, dtype=torch.float64), some]))
    if isinstance(function, nn.Identity) or not bool(seen.any()):
        return edges.base * (1.0 if isinstance(function, nn.Identity) else 0.0), None
    if pieces is None:
        raise NotPiecewiseAffine(
            "base function of a KAN",
            found=type(function).__name__,
            expected="zero, the identity, ReLU or LeakyReLU",
            remedy="train with such a base function, or give `pieces` for an estimate",
        )

    def bent(knots: Floats) -> Floats:
        with torch.no_grad():
            return function(torch.tensor(knots)).numpy()

    return nothing, bent
