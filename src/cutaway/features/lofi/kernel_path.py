"""LoFi with infinitely wide layers: Gram matrices, dual coefficients, Krylov directions.

One layer (arXiv 2605.13612, kernel form; exact up to the eigensolver's tolerance): inputs h (n, q), scale c, Gram
G_ij = k(h_i/c, h_j/c); dual directions a_j are the leading eigenvectors of Y G in the inner product of G, so that
A^T G A = I; new features F = G A on the training points and K(x, X) A elsewhere. We differ from the public code in the
route only (`network.lanczos`): no square root of G, no floor. Memory: one n x n array a step (two while a readout is
factorised) and an m x n one for evaluation points. Cost of a layer: n^2 (q + a few tens of k) flops.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from cutaway.arrays import Array
from cutaway.features.lofi.dual_kernels import cross_kernel, gram_kernel
from cutaway.features.lofi.labels import Signals, label_directions
from cutaway.features.lofi.layer import LayerRecord, input_scale, signs
from cutaway.features.lofi.readout import dual_readout
from cutaway.network.lanczos import leading_pairs

_ROWS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelLayer:
    """Training inputs (n, q) of the layer, its scale, dual coefficients (n, k), and the activation."""

    inputs: Array
    scale: float
    dual: Array
    activation: str

    def forward(self, points: Array) -> Array:
        out = np.empty((points.shape[0], self.dual.shape[1]))
        for start in range(0, points.shape[0], _ROWS):
            block = points[start : start + _ROWS] / self.scale
            out[start : start + _ROWS] = cross_kernel(block, self.inputs / self.scale, self.activation) @ self.dual
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelModel:
    """Fitted stack; `readout` is the last lift with the ridge coefficients in place of directions."""

    layers: tuple[KernelLayer, ...]
    readout: KernelLayer
    intercept: Array
    records: tuple[LayerRecord, ...]

    def features(self, points: Array) -> Array:
        for layer in self.layers:
            points = layer.forward(points)
        return points

    def predict(self, points: Array) -> Array:
        return self.readout.forward(self.features(points)) + self.intercept


@dataclass(slots=True, kw_only=True)
class KernelPath:
    """A stack being grown on training points, carrying evaluation points along."""

    inputs: Array
    evaluation: Array
    signals: Signals
    activation: str
    generator: np.random.Generator
    directions: int | str = "all"
    layers: tuple[KernelLayer, ...] = ()
    records: tuple[LayerRecord, ...] = ()
    scale: float = 1.0
    gram: Array | None = None
    cross: Array | None = None
    _ready: dict[str, tuple[Array, Array, LayerRecord]] = field(default_factory=dict)

    def branch(self) -> KernelPath:
        """A path that shares everything computed so far."""
        return KernelPath(
            inputs=self.inputs,
            evaluation=self.evaluation,
            signals=self.signals,
            activation=self.activation,
            generator=self.generator,
            directions=self.directions,
            layers=self.layers,
            records=self.records,
            scale=self.scale,
            gram=self.gram,
            cross=self.cross,
            _ready=self._ready,
        )

    def lift(self) -> None:
        """Kernel matrices of the next layer."""
        self.scale = input_scale(self.inputs, self.signals.weights)
        self.gram = self.cross = None
        self._ready = {}
        self.gram = gram_kernel(self.inputs / self.scale, self.activation)
        self.cross = cross_kernel(self.evaluation / self.scale, self.inputs / self.scale, self.activation)

    def width(self) -> int:
        return self.inputs.shape[0]

    def prepare(self, count: int) -> None:
        """Compute `count` directions once for all branches that will keep fewer."""
        self._ready["pairs"] = self._directions(count)

    def reduce(self, count: int) -> None:
        """Keep `count` directions: features replace the inputs, and the kernel matrices are given back."""
        assert self.gram is not None and self.cross is not None
        dual, images, record = self._ready["pairs"] if "pairs" in self._ready else self._directions(count)
        keep = min(count + record.linear, dual.shape[1])
        dual, images = dual[:, :keep], images[:, :keep]
        record = LayerRecord(
            eigenvalues=record.eigenvalues[: keep - record.linear],
            linear=record.linear,
            scale=record.scale,
            second_moment=record.second_moment,
            converged=record.converged,
        )
        layer = KernelLayer(inputs=self.inputs, scale=self.scale, dual=dual, activation=self.activation)
        self.layers, self.records = (*self.layers, layer), (*self.records, record)
        self.evaluation = self.cross @ dual
        self.inputs = np.ascontiguousarray(images)
        self.gram, self.cross, self._ready = None, None, {}

    def solver(self) -> Callable[[float], Array]:
        """alpha -> predictions (m, c) of the ridge readout at the evaluation points."""
        assert self.gram is not None and self.cross is not None
        gram, cross, signals = self.gram, self.cross, self.signals

        def predict(alpha: float) -> Array:
            dual, intercept = dual_readout(gram, signals.targets, alpha, signals.weights)
            return cross @ dual + intercept

        return predict

    def finish(self, alpha: float) -> KernelModel:
        assert self.gram is not None
        dual, intercept = dual_readout(self.gram, self.signals.targets, alpha, self.signals.weights)
        readout = KernelLayer(inputs=self.inputs, scale=self.scale, dual=dual, activation=self.activation)
        return KernelModel(layers=self.layers, readout=readout, intercept=intercept, records=self.records)

    def _directions(self, count: int) -> tuple[Array, Array, LayerRecord]:
        assert self.gram is not None
        gram = self.gram
        num = gram.shape[0]
        weights = self.signals.operator
        locked = np.zeros((num, 0))
        if self.signals.first_moment:
            locked = _first_moment(gram, weights)
        if weights.shape[1] > 1:
            moment = weights.T @ (gram @ weights)
            weights = weights @ label_directions(weights, moment, self.directions)
        pairs = leading_pairs(
            gram_moment_operator(gram, weights),
            lambda block: gram @ block,
            num,
            count,
            generator=self.generator,
            locked=locked,
        )
        values = pairs.values if weights.shape[1] == 1 else np.sqrt(np.maximum(pairs.values, 0.0))
        record = LayerRecord(
            eigenvalues=values / num,
            linear=locked.shape[1],
            scale=self.scale,
            second_moment=float(np.trace(gram)) / num,
            converged=pairs.converged,
        )
        images = np.concatenate([gram @ locked, pairs.images], axis=1)
        facing = signs(images)
        return np.concatenate([locked, pairs.vectors], axis=1) * facing, images * facing, record


def gram_moment_operator(gram: Array, weights: Array):
    """n times the moment operator in data coordinates: v -> y * (G v), or sum_k y_k * G (y_k * (G v)) for a bank."""

    def single(vectors: Array, images: Array) -> Array:
        return weights * images

    def bank(vectors: Array, images: Array) -> Array:
        out = np.zeros_like(images)
        for column in weights.T:
            out += column[:, None] * (gram @ (column[:, None] * images))
        return out

    return single if weights.shape[1] == 1 else bank


def _first_moment(gram: Array, weights: Array) -> Array:
    """Dual coefficients of an orthonormal basis of the span of u_k = (1/n) sum_i y_ik z_i; empty if all vanish."""
    product = weights.T @ gram @ weights
    scale, rotation = np.linalg.eigh(product)
    keep = scale > max(float(scale[-1]), 0.0) * 1e-10 + (1e-7 * gram.shape[0]) ** 2
    return weights @ (rotation[:, keep] / np.sqrt(scale[keep]))
