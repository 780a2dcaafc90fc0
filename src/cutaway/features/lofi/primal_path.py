"""LoFi with finite lifts, streamed: random features or Nystroem features, the same operator in P x P form.

One layer (arXiv 2605.13612, finite width): lift z = phi(h / c), accumulate C = (1/n) sum y z z^T over blocks, keep the
K leading directions V, features h' = z V. Kept in memory: the inputs of the layer (n, K), the accumulators
((r + 1) P^2 float64) and one block; never n x P. Convergence to the kernel form: error of order 1 / sqrt(P).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cutaway.arrays import Array
from cutaway.features.lofi.conv_lift import ConvLift, conv_lift
from cutaway.features.lofi.errors import EstimatorInputError
from cutaway.features.lofi.labels import Signals, label_directions
from cutaway.features.lofi.layer import LayerRecord, input_scale
from cutaway.features.lofi.moments import (
    accumulate,
    blocks,
    leading_directions,
    linear_directions,
    readout_sums,
    rows_within,
)
from cutaway.features.lofi.parameters import gigabytes
from cutaway.features.lofi.random_lift import NystroemLift, RandomLift, nystroem_error, nystroem_lift, random_lift
from cutaway.features.lofi.readout import primal_readout

AnyLift = RandomLift | NystroemLift | ConvLift


@dataclass(frozen=True, slots=True, kw_only=True)
class LiftSettings:
    """`kind` "finite", "nystroem" or "conv"; `width` P or number of landmarks; dtype of the features; budget; device.

    For "conv", `image_shape` (C, H, W) and the first `conv_layers` lifts convolve with `channels` channels.
    """

    kind: str
    width: int
    activation: str
    budget: int
    device: str
    dtype: torch.dtype = torch.float32
    image_shape: tuple[int, int, int] | None = None
    conv_layers: int = 0
    channels: int = 256
    kernel_size: int = 3
    pool: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PrimalLayer:
    """A lift and the (P, k) matrix applied to it (directions, or readout weights)."""

    lift: AnyLift
    matrix: Array

    def forward(self, points: Array, rows: int, device: str) -> Array:
        """Rows (n, k), or, after a convolution, flattened maps (n, k h w) in float32."""
        matrix = torch.from_numpy(np.ascontiguousarray(self.matrix)).to(device)
        spatial = isinstance(self.lift, ConvLift)
        positions = int(np.prod(self.lift.out_size)) if isinstance(self.lift, ConvLift) else 1
        out = np.empty((points.shape[0], positions * matrix.shape[1]), dtype=np.float32 if spatial else np.float64)
        for index, block in blocks(points, rows, device):
            z = self.lift(block)
            if spatial:
                mapped = (z @ matrix.to(z.dtype)).reshape(block.shape[0], positions, -1)
                out[index] = mapped.transpose(1, 2).reshape(block.shape[0], -1).cpu().numpy()
            else:
                out[index] = (z.to(matrix.dtype) @ matrix).cpu().numpy()
        return out


def numbers_per_row(lift: AnyLift) -> int:
    """Numbers that one sample takes while it is lifted: the width, times the positions before pooling."""
    return lift.width * (lift.shape[1] * lift.shape[2] if isinstance(lift, ConvLift) else 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrimalModel:
    """Fitted stack of finite layers; `nystroem_errors` has one entry a lift (empty for random features)."""

    layers: tuple[PrimalLayer, ...]
    readout: PrimalLayer
    intercept: Array
    records: tuple[LayerRecord, ...]
    settings: LiftSettings
    nystroem_errors: tuple[float, ...]

    def features(self, points: Array) -> Array:
        for layer in self.layers:
            points = layer.forward(points, self._rows(layer), self.settings.device)
        return points

    def predict(self, points: Array) -> Array:
        rows = self._rows(self.readout)
        return self.readout.forward(self.features(points), rows, self.settings.device) + self.intercept

    def _rows(self, layer: PrimalLayer) -> int:
        return rows_within(numbers_per_row(layer.lift), self.settings.budget)


@dataclass(slots=True, kw_only=True)
class PrimalPath:
    """A stack being grown; same steps as `kernel_path.KernelPath`."""

    inputs: Array
    evaluation: Array
    signals: Signals
    settings: LiftSettings
    generator: np.random.Generator
    directions: int | str = "all"
    classes: NDArray[np.intp] | None = None
    layers: tuple[PrimalLayer, ...] = ()
    records: tuple[LayerRecord, ...] = ()
    errors: tuple[float, ...] = ()
    current: AnyLift | None = None
    ready: Any = None

    def branch(self) -> PrimalPath:
        return replace(self)

    def width(self) -> int:
        return self.current.width if self.current is not None else self.settings.width

    def lift(self) -> None:
        """Draw the next lift."""
        self.ready = None
        chosen = self.settings
        if len(self.layers) < chosen.conv_layers:
            self.current = self._convolution()
            return
        scale = input_scale(self.inputs, self.signals.weights)
        if chosen.kind != "nystroem":
            torch_generator = torch.Generator().manual_seed(int(self.generator.integers(2**62)))
            self.current = random_lift(
                self.inputs.shape[1],
                chosen.width,
                scale,
                chosen.activation,
                torch_generator,
                chosen.dtype,
                chosen.device,
            )
            return
        count = min(chosen.width, self.inputs.shape[0])
        self.current = nystroem_lift(self.inputs, count, scale, chosen.activation, self.generator, chosen.dtype)
        sample = self.generator.permutation(self.inputs.shape[0])[:1000]
        self.errors = (*self.errors, nystroem_error(self.current, self.inputs[sample]))

    def _convolution(self) -> ConvLift:
        chosen = self.settings
        shape = chosen.image_shape
        assert shape is not None
        if self.layers:
            previous = self.layers[-1]
            assert isinstance(previous.lift, ConvLift)
            shape = (previous.matrix.shape[1], *previous.lift.out_size)
        return conv_lift(
            self.inputs,
            shape,
            chosen.channels,
            chosen.kernel_size,
            chosen.pool,
            chosen.activation,
            torch.Generator().manual_seed(int(self.generator.integers(2**62))),
            chosen.dtype,
            chosen.device,
        )

    def prepare(self, count: int) -> None:
        self.ready = self._directions(count)

    def reduce(self, count: int) -> None:
        """Keep `count` directions and move training and evaluation points through the layer."""
        assert self.current is not None
        vectors, record = self.ready if self.ready is not None else self._directions(count)
        keep = min(count + record.linear, vectors.shape[1])
        record = replace(record, eigenvalues=record.eigenvalues[: keep - record.linear])
        layer = PrimalLayer(lift=self.current, matrix=vectors[:, :keep])
        self.inputs = layer.forward(self.inputs, self._rows(), self.settings.device)
        self.evaluation = layer.forward(self.evaluation, self._rows(), self.settings.device)
        self.layers, self.records, self.ready = (*self.layers, layer), (*self.records, record), None

    def solver(self) -> Callable[[float], Array]:
        """alpha -> predictions (m, c) of the ridge readout at the evaluation points."""
        assert self.current is not None
        solve, lift = self._solve(), self.current

        def predict(alpha: float) -> Array:
            weights, intercept = solve(alpha)
            layer = PrimalLayer(lift=lift, matrix=weights)
            return layer.forward(self.evaluation, self._rows(), self.settings.device) + intercept

        return predict

    def finish(self, alpha: float) -> PrimalModel:
        assert self.current is not None
        weights, intercept = self._solve()(alpha)
        return PrimalModel(
            layers=self.layers,
            readout=PrimalLayer(lift=self.current, matrix=weights),
            intercept=intercept,
            records=self.records,
            settings=self.settings,
            nystroem_errors=self.errors,
        )

    def _rows(self) -> int:
        assert self.current is not None
        return rows_within(numbers_per_row(self.current), self.settings.budget)

    def _solve(self) -> Callable[[float], tuple[Array, Array]]:
        """One pass over the data for the sufficient statistics, then a solve for every alpha asked for."""
        assert self.current is not None
        targets, weights = self.signals.targets, self.signals.weights
        num = len(targets) if weights is None else float(weights.sum())
        place = (self.width(), self._rows(), self.settings.device)
        sums = readout_sums(self.inputs, self.current, targets, *place, weights)
        average = np.average(targets, axis=0, weights=weights)
        centred = sums.second - num * np.outer(sums.mean, sums.mean)
        right = sums.cross - num * np.outer(sums.mean, average)
        return lambda alpha: primal_readout(centred, right, sums.mean, average, alpha)

    def _directions(self, count: int) -> tuple[Array, LayerRecord]:
        assert self.current is not None
        width = self.width()
        weights, classes = self._weights()
        moments = accumulate(self.inputs, self.current, weights, width, self._rows(), self.settings.device, classes)
        locked = moments.first.new_zeros(width, 0)
        if self.signals.first_moment:
            locked = linear_directions(moments.first)
        vectors, values = leading_directions(moments.operators, min(count, width - locked.shape[1]), locked)
        record = LayerRecord(
            eigenvalues=values,
            linear=locked.shape[1],
            scale=self.current.scale,
            second_moment=moments.second_moment,
            converged=True,
        )
        return np.concatenate([locked.cpu().numpy(), vectors], axis=1), record

    def _weights(self) -> tuple[Array, NDArray[np.intp] | None]:
        """Label columns of the operator: all of them where the accumulators fit, else mixed down to those that do."""
        weights = self.signals.operator
        columns = weights.shape[1]
        equal = self.signals.weights is None
        classes = self.classes if self.signals.centered and columns > 1 and equal else None
        room = int(0.6 * self.settings.budget / (8.0 * self.width() ** 2)) - 1
        if room < 1:
            raise EstimatorInputError(
                "budget",
                found=f"{gigabytes(self.settings.budget / 1e9)} for a lift of width {self.width()}",
                expected=f"at least {gigabytes(2 * 8.0 * self.width() ** 2 / 0.6e9)}",
                remedy="lower the width or raise budget",
            )
        wanted: int | str = self.directions
        if columns > room and (wanted == "all" or int(wanted) > room):
            wanted = room
        if wanted == "all" or columns == 1:
            return weights, classes
        assert self.current is not None
        first = np.zeros((columns, self.width()))
        for index, block in blocks(self.inputs, self._rows(), self.settings.device):
            first += weights[index].T @ self.current(block).double().cpu().numpy()
        return weights @ label_directions(weights, first, wanted), None
