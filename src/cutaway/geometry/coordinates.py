"""Values at a subdivision's vertices as linear functions of few coordinates: for wide networks on small domains.

Where only K of a network's neurons bend inside the domain, the network there is linear in K + 3 numbers: the two plane
coordinates, 1, and the outputs y_k of the neurons that bend. So K + 3 rows go through each layer instead of one row a
vertex: every node n of the graph holds a basis B_n (K, *shape) with value(v) = Y(v) . B_n at each vertex v, and the
vertices hold Y (V, K). A neuron that bends gives the next nodes a new coordinate; one that does not keeps its linear
branch. Exact, no approximation: the same pieces as `vertex_values`, in another order of summation. A convolutional
network whose every vertex would cost 40 million multiplications costs K^2 / 2 here.

Which neurons may bend is decided by intervals over the coordinates' ranges (plane part exactly, at the polygon's
corners) and then by their values at all vertices; an interval too wide costs time, never a region.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cutaway.arrangement import Subdivision
from cutaway.arrangement.insertion import Insertion
from cutaway.arrays import Floats, Ints
from cutaway.engines.budget import format_bytes
from cutaway.engines.row_blocks import RowBlocks
from cutaway.errors import BudgetError
from cutaway.geometry.bases import affine_basis, affine_bytes, same_length
from cutaway.geometry.plane import Plane
from cutaway.geometry.program import KinkSite, StagedProgram, refuse_overflow
from cutaway.geometry.vocabulary import PAIRED, RELU_LIKE
from cutaway.network.graph import Node

_EPS = float(np.finfo(np.float64).eps)
_BLOCK_BYTES = 1 << 27


@dataclass(slots=True)
class _Range:
    """Bounds (width) of gate values over the domain; exact where the values at all vertices were looked at."""

    low: Floats
    high: Floats


class PlaneCoordinates:
    """Coordinates of the vertices of `cells`, and every live node's basis. Raises BudgetError before the two take more
    than `budget` bytes."""

    def __init__(self, program: StagedProgram, plane: Plane, cells: Subdivision, budget: int) -> None:
        self.program, self.cells, self.budget = program, cells, budget
        position = cells.position[: cells.num_vertices]
        self.corners = np.concatenate([position, np.ones((len(position), 1))], axis=1)
        self.rows = RowBlocks(self.corners)
        start = np.concatenate([plane.directions, plane.origin[None]])
        self.basis: dict[int, Tensor] = {program.input.index: torch.from_numpy(start).reshape(3, *program.input.shape)}
        self.at = 0
        self.known: list[tuple[int, Ints, Floats]] = []  # this site's (part, columns, values), vertices up to date
        self.ranges: list[_Range] = []
        self.recomputed = self.forward_rows = 0
        self.block = max(1, min(_BLOCK_BYTES, budget // 8))

    @property
    def bytes(self) -> int:
        """What is held: bases, coordinates, the gates of this site."""
        return self._bases + self.rows.bytes + sum(v.nbytes for _, _, v in self.known)

    @property
    def _bases(self) -> int:
        return sum({b.untyped_storage().data_ptr(): b.untyped_storage().nbytes() for b in self.basis.values()}.values())

    def _within(self, vertices: int, coordinates: int, more: int = 0) -> None:
        """Raises BudgetError where that many coordinates, the bases and `more` bytes of them are over the budget."""
        bases = self._bases + more
        if 8 * vertices * coordinates + bases > self.budget:
            raise BudgetError(
                "memory budget of the slice",
                found=f"{format_bytes(8 * vertices * coordinates + bases)} for {vertices} vertices in {coordinates} "
                f"coordinates and gates, {format_bytes(bases)} of it the layers' values in these coordinates, "
                f"{self.cells.num_faces} faces so far",
                expected=f"at most {format_bytes(self.budget)} beside the network",
                remedy="raise the memory budget (--budget 12GB, budget=...)",
            )

    def _room(self, more: int) -> None:
        """The same before `more` bytes are taken."""
        gates = sum(v.shape[1] for _, _, v in self.known)
        self._within(self.cells.num_vertices, self.rows.num_columns + gates, more)

    def gates(self, index: int, part: int) -> tuple[Ints, Floats, list[int], Floats]:
        """Columns of this part that may cut, their values (V, k), the same as a list, and their rounding errors."""
        site = self.program.sites[index]
        if part == 0:
            self._advance(self.program.stop_of(index))
            self.known, self.ranges = [], []
        range_, size = self._bounds(site, part)
        refuse_overflow(range_.low + range_.high, f"site {site.name!r}")
        slack = 8 * _EPS * size
        maybe = np.flatnonzero((range_.low <= slack) & (range_.high >= -slack) & (size > 0))
        columns, parts = [], []
        step = max(1, self.block // (8 * max(self.cells.num_vertices, 1)))
        for begin in range(0, len(maybe), step):
            some = maybe[begin : begin + step]
            values = self._gate_values(site, part, some)
            low, high = values.min(axis=0), values.max(axis=0)
            range_.low[some], range_.high[some] = low, high
            zeros = np.count_nonzero(values == 0.0, axis=0)
            bends = ((low < 0) & (high > 0)) | ((zeros >= 2) & (low != high))
            columns.append(some[bends])
            parts.append(values[:, bends])
            rows = sum(map(len, columns)) // site.parts  # of the basis to come: an output bends in one part at least
            self._room(2 * sum(p.nbytes for p in parts) + 8 * rows * self.program.graph.nodes[site.node].numel)
        self.ranges.append(range_)
        found = np.concatenate(columns) if columns else np.zeros(0, dtype=np.int64)
        values = np.concatenate(parts, axis=1) if parts else np.zeros((self.cells.num_vertices, 0))
        self.known.append((part, found, np.zeros((self.cells.num_vertices, 0))))
        return found, values, found.tolist(), slack[found]

    def inserted(self, site: KinkSite, part: int, columns: Ints, done: Insertion, whole: bool) -> None:
        """Follow an insertion of `columns` of a part: everything known at the vertices is extended to the new ones."""
        if len(done.parent):
            site_columns = 2 * len(self.known[-1][1]) + sum(v.shape[1] for _, _, v in self.known[:-1])
            self._within(len(done.values), self.rows.num_columns + site_columns)
            self.rows.resize_rows(len(done.values))
            for _, part_of_rows in self.rows.parts():
                done.fill_rows(part_of_rows)
            self.known = [(p, c, done.extend_rows(v) if v.shape[1] else v) for p, c, v in self.known]
        which, every, values = self.known[-1]
        values = values if len(values) == len(done.values) else np.zeros((len(done.values), 0))
        self.known[-1] = (which, every, np.concatenate([values, done.values], axis=1))

    def close(self, index: int) -> None:
        """The site is cut: its node's basis, with a new coordinate for every output that bends."""
        site = self.program.sites[index]
        node = self.program.graph.nodes[site.node]
        bent, values = self._bent_outputs(site, node)
        old = max(len(self.basis[i]) for i in node.inputs if i in self.basis)
        wide = 1 if node.op in RELU_LIKE else 2
        self._room(8 * node.numel * (wide * old + len(bent)) + values.nbytes)
        made = torch.zeros(old + len(bent), node.numel, dtype=torch.float64)
        self._linear_branch(site, node, made[:old])
        made[:old, bent] = 0.0
        made[old + torch.arange(len(bent)), torch.from_numpy(bent)] = 1.0
        self.basis[node.index] = made.reshape(-1, *node.shape)
        self.rows.append_columns(values)
        self.known, self.ranges, self.at = [], [], node.index + 1
        self._forget(self.at)

    def keep(self, vertices: Ints) -> None:
        """Only these vertices are left."""
        self.rows.keep(vertices)
        self.known = [(p, c, v[vertices] if v.shape[1] else v) for p, c, v in self.known]

    def gaps(self, index: int, vertex: Ints, places: Ints, part: Ints, output: Ints) -> Floats:
        """By how much the largest entry of each claim's window exceeds the compared one, at one end of its edge."""
        site, gap = self.program.sites[index], np.empty(len(places))
        for begin in range(0, len(places), 2048):
            some = slice(begin, begin + 2048)
            entries = self._entries(site, output[some], at=vertex[places[some]])
            gap[some] = entries.max(axis=1) - entries[np.arange(len(entries)), part[some] + 1]
        return gap

    def outputs(self) -> Floats:
        """(V, C): the network's outputs at the vertices."""
        self._advance(len(self.program.graph.nodes))
        return self._dot(self._flat(self.program.output.index))

    def _dot(self, flat: Tensor) -> Floats:
        """(V, m): values of columns (k, m) of a basis; coordinates newer than the basis do not count."""
        return self.rows.dot(flat.numpy())

    def _flat(self, index: int) -> Tensor:
        basis = self.basis[index]
        return basis.reshape(len(basis), -1)

    def _operands(self, node: Node) -> list[Tensor]:
        """Flat bases of the node's inputs, of equal length; a constant sits in the coordinate 1."""
        found = []
        for i in node.inputs:
            if i in self.basis:
                found.append(self._flat(i))
                continue
            constant = self.program.constants[i].expand(self.program.graph.nodes[node.index].shape)
            found.append(torch.cat([torch.zeros(2, node.numel, dtype=torch.float64), constant.reshape(1, -1)]))
        return same_length(found)

    def _advance(self, stop: int) -> None:
        """Send every basis through the affine nodes up to `stop` (exclusive); forget what no later node reads."""
        for node in self.program.graph.nodes[self.at : stop]:
            if node.index in self.basis or node.index in self.program.constants:
                continue
            bases = {i: self.basis[i] for i in node.inputs if i in self.basis}
            self._room(affine_bytes(self.program, node, bases, self.block))
            self.basis[node.index] = affine_basis(self.program, node, bases, self.block)
            self.forward_rows += len(self.basis[node.index])
            self._forget(min(node.index + 1, stop))
        self.at = max(self.at, stop)
        self._forget(stop)

    def _forget(self, at: int) -> None:
        """Drop the bases that no node from `at` on reads."""
        self.basis = {i: b for i, b in self.basis.items() if self.program.last_use[i] >= at}

    def _bounds(self, site: KinkSite, part: int) -> tuple[_Range, Floats]:
        """Ranges of the gates of one part over the domain, and the sizes of what is summed up in them."""
        node = self.program.graph.nodes[site.node]
        if node.op in PAIRED:  # the two in equal length, and their difference
            self._room(24 * node.numel * max(len(self.basis[i]) for i in node.inputs if i in self.basis))
        operands = self._operands(node)
        if site.window is None:
            flat = operands[0]
            if node.op in PAIRED:
                flat = operands[0] - operands[1]
            range_, size = self._intervals(flat)
            if node.op == "clamp":
                range_ = _Range(range_.low - site.thresholds[part], range_.high - site.thresholds[part])
                size = size + abs(site.thresholds[part])
            return range_, size
        if part == 0:
            self._entry_ranges = self._intervals(operands[0])
        entry, size = self._entry_ranges
        window = site.window.numpy()
        padding = window < 0
        low, high = (np.where(padding, -np.inf, side[np.maximum(window, 0)]) for side in (entry.low, entry.high))
        before, now = slice(0, part + 1), part + 1
        with np.errstate(invalid="ignore"):
            gap = _Range(low[:, now] - high[:, before].max(axis=1), high[:, now] - low[:, before].max(axis=1))
        never, always = padding[:, now], padding[:, before].all(axis=1) & ~padding[:, now]
        gap.low[never] = gap.high[never] = -1.0
        gap.low[always] = gap.high[always] = 1.0
        return gap, np.where(padding, 0.0, size[np.maximum(window, 0)])[:, : part + 2].max(axis=1)

    def _intervals(self, flat: Tensor) -> tuple[_Range, Floats]:
        """Ranges of columns (k, m) of a basis over the domain, and sums of the sizes of their terms."""
        basis = flat.numpy()
        plane = self.corners @ basis[:3]
        low, high, size = plane.min(axis=0), plane.max(axis=0), np.abs(self.corners).max(axis=0) @ np.abs(basis[:3])
        least, most = (self.rows.over_rows(pick, len(basis)) for pick in (np.min, np.max))
        step = max(1, min(64, self.block // (16 * basis.shape[1])))
        for begin in range(3, len(basis), step):
            some = slice(begin, min(begin + step, len(basis)))
            up, down = np.maximum(basis[some], 0.0), np.minimum(basis[some], 0.0)
            low += least[some] @ up + most[some] @ down
            high += most[some] @ up + least[some] @ down
            size += np.maximum(np.abs(least[some]), np.abs(most[some])) @ (up - down)
        return _Range(low, high), size

    def _gate_values(self, site: KinkSite, part: int, columns: Ints) -> Floats:
        node = self.program.graph.nodes[site.node]
        where = torch.from_numpy(columns)
        if site.window is None:
            operands = self._operands(node)
            if node.op in PAIRED:
                return self._dot(operands[0][:, where] - operands[1][:, where])
            values = self._dot(operands[0][:, where])
            return values - site.thresholds[part] if node.op == "clamp" else values
        found = np.empty((self.cells.num_vertices, len(columns)))
        for begin in range(0, len(columns), 64):
            some = slice(begin, begin + 64)
            entries = self._entries(site, columns[some])
            found[:, some] = entries[:, :, part + 1] - entries[:, :, : part + 1].max(axis=2)
        return found

    def _entries(self, site: KinkSite, outputs: Ints, at: Ints | None = None) -> Floats:
        """What windows compare, -inf for padding: (V, outputs, m); with `at` (outputs,), each at one vertex,
        (outputs, m)."""
        assert site.window is not None
        flat = self._flat(self.program.graph.nodes[site.node].inputs[0]).numpy()
        window = site.window.numpy()[outputs]
        picked = flat[:, np.maximum(window, 0)]
        if at is None:
            found = self.rows.dot(picked.reshape(len(flat), -1)).reshape(-1, *window.shape)
        else:
            found = np.einsum("nk,knm->nm", self.rows.at(at, len(flat)), picked)
        found[..., window < 0] = -np.inf
        return found

    def _bent_outputs(self, site: KinkSite, node: Node) -> tuple[Ints, Floats]:
        """Outputs of the site that bend in the domain, and their values at the vertices (V, n)."""
        if site.window is not None:
            bent = np.unique(np.concatenate([columns for _, columns, _ in self.known]))
            found = np.empty((self.cells.num_vertices, len(bent)))
            for begin in range(0, len(bent), 64):
                some = slice(begin, begin + 64)
                found[:, some] = self._entries(site, bent[some]).max(axis=2)
            return bent, found
        bent, first = np.unique(np.concatenate([columns for _, columns, _ in self.known]), return_index=True)
        gates = np.concatenate([v for _, c, v in self.known if len(c)] or [np.zeros((self.cells.num_vertices, 0))], 1)
        part = np.concatenate([np.full(len(c), p) for p, c, _ in self.known])[first]
        value = gates[:, first]
        if node.op in RELU_LIKE:
            return bent, np.where(value > 0, value, value * self._slope(node)[bent])
        if node.op == "clamp":
            edge = np.array(site.thresholds or (0.0,))[part] if len(part) else np.zeros(0)
            low, high = (
                -np.inf if node.attributes["min"] is None else node.attributes["min"],
                np.inf if node.attributes["max"] is None else node.attributes["max"],
            )
            return bent, np.clip(value + edge, low, high)
        other = self._dot(self._operands(node)[1][:, torch.from_numpy(bent)])
        return bent, other + (np.maximum(value, 0.0) if node.op == "maximum" else np.minimum(value, 0.0))

    def _slope(self, node: Node) -> Floats:
        """(width,): the slope of a ReLU-like kink below 0."""
        slope = {"relu": 0.0, "abs": -1.0}.get(node.op)
        if slope is None:
            given = node.constants["slope"] if "slope" in node.constants else node.attributes["slope"]
            return torch.as_tensor(given, dtype=torch.float64).expand(node.shape).reshape(-1).numpy()
        return np.full(node.numel, slope)

    def _linear_branch(self, site: KinkSite, node: Node, made: Tensor) -> None:
        """Write the basis of the outputs where they do not bend into `made` (K, width)."""
        operands = self._operands(node)
        if node.op in RELU_LIKE:
            factor = np.where(self.ranges[0].high > 0, 1.0, self._slope(node))
            torch.mul(operands[0], torch.from_numpy(factor), out=made)
        elif node.op == "clamp":
            made.copy_(operands[0])
            for threshold, range_ in zip(site.thresholds, self.ranges):
                lower = node.attributes["min"] is not None and threshold == float(node.attributes["min"])
                outside = torch.from_numpy(range_.high <= 0 if lower else range_.low >= 0)
                made[:, outside] = 0.0
                made[2, outside] = threshold
        elif node.op in PAIRED:
            first = torch.from_numpy((self.ranges[0].high > 0) == (node.op == "maximum"))
            torch.where(first, operands[0], operands[1], out=made)
        else:
            assert site.window is not None
            middle = self.rows.over_rows(np.mean, len(operands[0])) @ operands[0].numpy()
            middle = middle[np.maximum(site.window.numpy(), 0)]
            winner = np.where(site.window.numpy() < 0, -np.inf, middle).argmax(axis=1)
            made.copy_(operands[0][:, site.window[torch.arange(len(winner)), torch.from_numpy(winner)]])
