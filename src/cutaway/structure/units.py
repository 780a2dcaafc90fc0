"""Where each unit bends: around the data, or at the decision boundary; and the network without some of its units.

A *unit* is a neuron of a dense layer or a channel of a convolution whose kink (ReLU, LeakyReLU, PReLU, abs, a clamp
around 0) follows it; its boundary is where the kink bends. How much of it lies somewhere is told by how often straight
lines cross it there (Crofton): per length of segments between samples, near their ends and near the changes of class on
them, exact places both; and in exact slices by its length per area, near the samples and near the decision boundary.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cutaway.arrays import Floats, Ints
from cutaway.errors import InputError, ModelError
from cutaway.geometry.kinks import KinkSite
from cutaway.geometry.migration import CHORDS, RayMigration, near_length
from cutaway.geometry.partition import Slice, polygon_area
from cutaway.geometry.plane import chords
from cutaway.geometry.program import StagedProgram
from cutaway.geometry.vocabulary import RELU_LIKE
from cutaway.network.graph import Graph, Node
from cutaway.records import Skipped

Gone = Mapping[str, Ints]
"""Units to leave out, by the name of their site."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitSite:
    """A site with units: its name, index among the program's sites, the dimension of its value (of one sample, without
    a leading 1) along which they lie, how many, the number of its first unit among all, and what makes them: the
    operators from the layer to its last normalisation."""

    name: str
    index: int
    dim: int
    count: int
    first: int
    makers: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitTable:
    """The U units of a program, and of each gate which unit it belongs to (-1: none). `skipped`: sites without units.

    Shapes: `unit_of_gate` (gates,).
    """

    sites: tuple[UnitSite, ...]
    unit_of_gate: Ints
    skipped: tuple[Skipped, ...]

    @property
    def count(self) -> int:
        """Number of units."""
        return sum(s.count for s in self.sites)

    @property
    def layer(self) -> Ints:
        """(U,): index into `sites`."""
        return np.repeat(np.arange(len(self.sites)), [s.count for s in self.sites])

    def by_site(self, units: NDArray[np.bool_]) -> dict[str, Ints]:
        """The chosen units, a mask (U,), as numbers within their sites, by site. Exact. Source: definition."""
        return {s.name: np.flatnonzero(units[s.first : s.first + s.count]) for s in self.sites}


def units_of(program: StagedProgram) -> UnitTable:
    """The units of a piecewise-affine program: exact, no pass.

    A site has units where its kink keeps 0 at 0 and follows a dense layer or a convolution, normalised or not; others
    are in `skipped`, each with its reason. Source: definition.
    """
    found, skipped, first = [], [], 0
    of_gate = np.full(program.num_gates, -1, dtype=np.int64)
    for index, site in enumerate(program.sites):
        makers = _makers(program.graph, program.graph.nodes[site.node])
        keeps_zero = site.kind in RELU_LIKE or (site.kind == "clamp" and _holds_zero(program.graph.nodes[site.node]))
        if not makers or not keeps_zero:
            reason = "has no value 0 to put" if makers else "does not follow a dense layer or a convolution"
            skipped.append(Skipped(what=f"site {site.name!r}", reason=reason))
            continue
        back = 1 if makers[0].op == "linear" else len(makers[0].attributes["stride"]) + 1
        dim = len(site.shape) - back
        made = UnitSite(name=site.name, index=index, dim=dim, count=site.shape[dim], first=first, makers=makers)
        own = np.moveaxis(np.arange(site.width).reshape(site.shape), dim, 0).reshape(made.count, -1)
        for part in range(site.parts):
            of_gate[site.first + part * site.width + own] = first + np.arange(made.count)[:, None]
        found.append(made)
        first += made.count
    return UnitTable(sites=tuple(found), unit_of_gate=of_gate, skipped=tuple(skipped))


def _makers(graph: Graph, node: Node) -> tuple[Node, ...]:
    """The dense layer or convolution whose normalised values a kink reads, and its normalisations; () for others."""
    chain = [graph.nodes[node.inputs[0]]]
    while chain[-1].op == "scale_shift":
        chain.append(graph.nodes[chain[-1].inputs[0]])
    return tuple(reversed(chain)) if chain[-1].op in ("linear", "convolution") else ()


def _holds_zero(node: Node) -> bool:
    low, high = node.attributes["min"], node.attributes["max"]
    return (low is None or low <= 0) and (high is None or high >= 0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitCrossings:
    """How often R segments cross the boundaries of U units, near data and near the decision boundary.

    `near_data`, `at_decision` (R, U): crossings no farther than the radius from an end, and from a change of class;
    `data_length`, `decision_length` (R,): length of the segment that is as near, in input units.
    """

    near_data: Ints
    at_decision: Ints
    data_length: Floats
    decision_length: Floats

    def densities(self, rows: Ints | None = None) -> tuple[Floats, Floats]:
        """(U,) each: crossings a length near data and at the decision boundary, over all or some segments; 0 where
        there is no such length. Exact on these segments."""
        rows = np.arange(len(self.data_length)) if rows is None else rows
        around, decisive = (float(v[rows].sum()) for v in (self.data_length, self.decision_length))
        return self.near_data[rows].sum(axis=0) / max(around, 1e-300), self.at_decision[rows].sum(axis=0) / max(
            decisive, 1e-300
        )


def unit_crossings(units: UnitTable, found: RayMigration, radius: float) -> UnitCrossings:
    """The crossings of `found`, segments between samples, by unit. `radius`: in segment lengths, in (0, 0.5).

    Exact up to rounding. Raises InputError for a radius outside. Cost: none beyond the crossings.
    """
    if not 0 < radius < 0.5:
        raise InputError("radius", found=str(radius), expected="in (0, 0.5)", remedy="give a share of a segment")
    unit, reach = units.unit_of_gate[found.gate], radius * found.length
    counts = []
    for near in (np.minimum(found.at, 1 - found.at) <= radius, found.near(reach)):
        chosen = near & (unit >= 0)
        flat = found.segment[chosen] * units.count + unit[chosen]
        counts.append(np.bincount(flat, minlength=len(found.length) * units.count).reshape(-1, units.count))
    return UnitCrossings(
        near_data=counts[0],
        at_decision=counts[1],
        data_length=2 * reach,
        decision_length=found.length_near(reach),
    )


def slice_densities(units: UnitTable, result: Slice, points: Floats, radius: float) -> tuple[Floats, Floats]:
    """(U,) each: length of each unit's boundary an area of a slice, near `points` (n, 2) and the decision boundary.

    Within `radius`, input units. Lengths exact up to rounding, areas by parallel chords; NaN where there is no such
    area. Cost: edges times decision segments that are near each other. Source: definition, of Crofton's kind.
    """
    gates = result.edge_gates
    made = np.flatnonzero(gates >= 0)
    made = made[units.unit_of_gate[gates[made]] >= 0]
    ends, unit = result.vertices[result.edges[made]], units.unit_of_gate[gates[made]]
    across = chords(result.domain, CHORDS)
    whole = np.hypot(*(across[:, 1] - across[:, 0]).T).sum()
    found = []
    for around in (np.repeat(points[:, None], 2, axis=1), result.decision.segments):
        if not len(around):
            found.append(np.full(units.count, np.nan))
            continue
        area = near_length(across, around, radius).sum() / whole * abs(polygon_area(result.domain))
        length = np.bincount(unit, near_length(ends, around, radius), minlength=units.count)
        found.append(length / area if area else np.full(units.count, np.nan))
    return found[0], found[1]


def geometry_score(around: Floats, decisive: Floats, active: Floats) -> Floats:
    """(U,): which units to keep first: density of the unit's boundary at the decision boundary less that near data.

    `around`, `decisive` (U,): densities; `active` (U,): share of samples on which its value is not 0. A unit that is 0
    on all of them comes last (-inf). Exact. Ours: the papers say that regions at the decision boundary matter and give
    no criterion (arXiv 2101.02338 names one in words).
    """
    return np.where(active > 0, decisive - around, -np.inf)


class UnitMask:
    """Runs a program with some of its units at 0: for whether a network needs them, without changing it."""

    def __init__(self, program: StagedProgram, units: UnitTable) -> None:
        self.program, self.units = program, units

    def outputs(self, inputs: Tensor, gone: Gone, *, batch_size: int = 256) -> Tensor:
        """(n, C) float64 with the units of `gone` at 0 everywhere. Exact up to rounding. Cost: one pass a row.

        Source: definition.
        """
        with torch.no_grad():
            return torch.cat([self._outputs(rows, gone) for rows in inputs.split(batch_size)])

    def active_share(self, inputs: Tensor, *, batch_size: int = 256) -> Floats:
        """(U,): share of the rows on which a unit's value is not 0 somewhere. Exact on them. Cost: one pass a row.

        Source: definition.
        """
        seen = np.zeros(self.units.count)
        with torch.no_grad():
            for rows in inputs.split(batch_size):
                values, at = self._begin(rows), 0
                for site in self.units.sites:
                    kink = self.program.sites[site.index]
                    values, at = self._to(values, at, kink)
                    value = self._by_unit(values[kink.node], kink, site)
                    seen[site.first : site.first + site.count] += (value != 0).any(dim=2).sum(dim=0).numpy()
        return seen / len(inputs)

    def _begin(self, rows: Tensor) -> dict[int, Tensor]:
        self.program.passes.count(len(rows))
        return self.program.begin(rows)

    def _to(self, values: dict[int, Tensor], at: int, kink: KinkSite) -> tuple[dict[int, Tensor], int]:
        return self.program.advance(values, at, kink.node + 1), kink.node + 1

    def _by_unit(self, value: Tensor, kink: KinkSite, site: UnitSite) -> Tensor:
        """(n, units, positions) of a site's value."""
        return value.reshape(len(value), *kink.shape).movedim(site.dim + 1, 1).reshape(len(value), site.count, -1)

    def _outputs(self, rows: Tensor, gone: Gone) -> Tensor:
        values, at = self._begin(rows), 0
        for site in self.units.sites:
            kink = self.program.sites[site.index]
            values, at = self._to(values, at, kink)
            left_out = gone.get(site.name, ())
            if len(left_out):
                value = values[kink.node].clone()
                shaped = value.reshape(len(value), *kink.shape)
                shaped.index_fill_(site.dim + 1, torch.as_tensor(left_out), 0.0)
                values[kink.node] = shaped.reshape(value.shape)
        return self.program.outputs(self.program.advance(values, at, len(self.program.graph.nodes)))


def magnitude_score(units: UnitTable) -> Floats:
    """(U,): l2 norm of the weights and the bias that make each unit, before normalisation: the usual criterion. Exact.

    Of a transposed convolution the norm of what leads to its channel is taken over all inputs of its group.
    """
    found = []
    for site in units.sites:
        layer = site.makers[0]
        weight = layer.constants["weight"]
        if layer.attributes.get("transposed"):
            groups = site.count // weight.shape[1]
            weight = weight.reshape(groups, -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1)
        size = weight.flatten(1).square().sum(dim=1)
        bias = layer.constants.get("bias")
        found.append((size if bias is None else size + bias.square()).sqrt().double().cpu().numpy())
    return np.concatenate(found)


def least_units(units: UnitTable, score: Floats, share: float) -> dict[str, Ints]:
    """Units of the least score, the same share of every site (rounded to the nearest), by site; of equal ones the
    first. `score` (U,), `share` in [0, 1]. Exact. Source: definition."""
    found = {}
    for site in units.sites:
        order = np.argsort(score[site.first : site.first + site.count], kind="stable")
        found[site.name] = np.sort(order[: round(share * site.count)])
    return found


def without_units(model: nn.Module, units: UnitTable, gone: Gone) -> nn.Module:
    """A copy of `model` whose units of `gone` are 0 for every input: what makes them has zero weights and biases.

    `cutaway.structure.export_pruned` then writes the smaller network. Exact. Raises ModelError for a layer or a
    normalisation that is no module with a parameter row a unit, and where a module serves several sites.
    """
    made = copy.deepcopy(model)
    named = dict(made.named_modules())
    used = [maker.module for site in units.sites for maker in site.makers]
    with torch.no_grad():
        for site in units.sites:
            rows = torch.as_tensor(gone.get(site.name, ()), dtype=torch.int64)
            for maker in site.makers if len(rows) else ():
                module = named.get(maker.module)
                if used.count(maker.module) > 1 or module is None or not _has_rows(module, site.count):
                    raise ModelError(
                        f"{maker.op} before site {site.name!r}",
                        found=f"module {maker.module!r}, used {used.count(maker.module)} times",
                        expected="a module of its own whose weight has a row a unit",
                        remedy="keep this site's units, or write the layer as a module (nn.Linear, nn.Conv2d)",
                    )
                for tensor in (module.weight, module.bias):
                    if isinstance(tensor, Tensor):
                        tensor[rows] = 0.0
    return made


def _has_rows(module: nn.Module, count: int) -> bool:
    """Whether the module's parameters `weight` and, if it has one, `bias` have a row a unit."""
    known = isinstance(module, nn.Linear | nn.modules.conv._ConvNd | nn.modules.batchnorm._BatchNorm)
    turned = isinstance(module, nn.modules.conv._ConvTransposeNd)
    return known and not turned and type(module.weight) is nn.Parameter and len(module.weight) == count
