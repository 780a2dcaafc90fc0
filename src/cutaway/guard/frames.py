"""An orthonormal frame of the leading singular directions of a point cloud, with what it leaves out.

Z (n, d) uncentred: V (d, k) holds its leading right singular vectors, from the Gram matrix Z'Z when d is small (then
k = d, nothing is left out), else from a randomised range finder (Halko, Martinsson and Tropp 2011, algorithm 4.4, one
power iteration). `residual` is the share of squared norm outside V, measured on all points. Regions built on a frame
hold every point whatever the quality of V, because the rest z - VV'z is bounded coordinate by coordinate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

FULL = 1024
CHUNK = 4096


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """`axes` V (d, k) float64 with orthonormal columns; `residual` share of squared norm outside; `exact`: k = d."""

    axes: np.ndarray
    residual: float
    exact: bool

    def split(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(V'z, z - VV'z) for points (n, d): shapes (n, k), (n, d)."""
        inside = points @ self.axes
        rest = np.zeros_like(points) if self.exact else points - inside @ self.axes.T
        return inside, rest

    def chunks(self, points: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """`split` over rows in float64, a few thousand at a time."""
        for start in range(0, len(points), CHUNK):
            yield self.split(points[start : start + CHUNK].astype(np.float64))


def principal_frame(
    points: np.ndarray, *, rank: int = 128, full: int = FULL, seed: int = 0, centre: np.ndarray | None = None
) -> Frame:
    """The frame of points (n, d) (minus `centre` (d,) where given); all of R^d for d <= `full`, else `rank` directions.

    Cost: one product of size n d^2 for the full frame, 5 of size n d rank otherwise; beside the points it needs
    O(d^2) or O((n + d) rank) memory.
    """
    n, d = points.shape
    if d <= full:
        gram = np.zeros((d, d))
        for start in range(0, n, CHUNK):
            part = points[start : start + CHUNK].astype(np.float64) - (0 if centre is None else centre)
            gram += part.T @ part
        axes = np.linalg.eigh(gram)[1][:, ::-1]
        return Frame(axes=_orthonormal(axes), residual=0.0, exact=True)
    rank = min(rank, d, n)
    rng = np.random.default_rng(seed)
    kind = points.dtype if points.dtype in (np.float32, np.float64) else np.float64
    shift = None if centre is None else centre.astype(kind)
    sketch = rng.standard_normal((d, min(rank + 8, d))).astype(kind)
    for _ in range(2):
        sketch = _orthonormal(_normal_product(points, sketch, shift))
    images = _images(points, sketch, shift)
    small = images.T.astype(np.float64) @ images.astype(np.float64)
    turn = np.linalg.eigh(small)[1][:, ::-1][:, :rank]
    axes = _orthonormal(sketch.astype(np.float64) @ turn)
    total = float(np.einsum("ij,ij->", points, points, dtype=np.float64))
    if centre is not None:
        total -= n * float(centre @ centre)
    kept = float(np.sum(np.linalg.eigvalsh(small)[::-1][:rank]))
    return Frame(axes=axes, residual=max(0.0, 1 - kept / total) if total > 0 else 0.0, exact=False)


def _orthonormal(matrix: np.ndarray) -> np.ndarray:
    return np.linalg.qr(matrix)[0]


def _images(points: np.ndarray, basis: np.ndarray, shift: np.ndarray | None) -> np.ndarray:
    out = points @ basis
    return out if shift is None else out - shift @ basis


def _normal_product(points: np.ndarray, basis: np.ndarray, shift: np.ndarray | None) -> np.ndarray:
    """Z'(Z B) without forming centred copies of Z."""
    images = _images(points, basis, shift)
    out = points.T @ images
    return out if shift is None else out - np.outer(shift, images.sum(0))
