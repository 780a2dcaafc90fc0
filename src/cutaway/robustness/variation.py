"""A task drawn again: the same images turned, moved, stretched, of other contrast and brightness, version by version.

One version is one draw of eight parameters, the same for all rows, so that a version is a way the task may be drawn
and not noise. With x in [0, 1] and G the affine grid (rotation R, log scale s, shear k, shifts t in half widths):

    x' = clip(((clip(x(G^-1 u)) ^ gamma - 1/2) contrast + 1/2) + offset),  G = R(angle) diag(e^s, e^s) [1 k; 0 1]

bilinear, 0 outside the image. Version 0 is the task as it is. The parameters follow the spread of a person's hand:
angle N(0, 0.2 rad), s N(0, 0.12), t N(0, 0.1), k N(0, 0.12), log contrast N(0, 0.25), log gamma N(0, 0.35), offset
U(0, 0.15), all times `strength`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

PARAMETERS = {
    "rotation": 0.2,
    "log scale": 0.12,
    "shear": 0.12,
    "shift right": 0.1,
    "shift down": 0.1,
    "log contrast": 0.25,
    "log gamma": 0.35,
    "offset": 0.15,
}
"""Each parameter of a version with its standard deviation, for `offset` its upper end."""


def draw_versions(count: int, *, strength: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """(count, 8) parameters in the order of `PARAMETERS`; row 0 is the identity, all zeros."""
    drawn = rng.standard_normal((count, len(PARAMETERS))) * np.array(list(PARAMETERS.values()))
    drawn[:, -1] = rng.uniform(0, PARAMETERS["offset"], count)
    drawn[0] = 0
    return drawn * strength


def redrawn(images: torch.Tensor, version: NDArray[np.float64], *, photometric: bool = True) -> torch.Tensor:
    """One version of `images` (n, channels, height, width), in [0, 1] where `photometric`; see the module's text.

    Zeros give the images back bit for bit. Without `photometric` only the geometry changes, in any range. Cost: one
    resampling. Exact but for the resampling, which is bilinear. Source: ours.
    """
    angle, scale, shear, right, down, contrast, gamma, offset = map(float, version)
    if any((angle, scale, shear, right, down)):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        forward = turn @ np.diag([np.exp(scale)] * 2) @ np.array([[1.0, shear], [0.0, 1.0]])
        back = np.linalg.inv(forward)
        grid_map = np.concatenate([back, back @ -np.array([[right], [down]])], axis=1)
        theta = torch.tensor(grid_map, dtype=images.dtype, device=images.device).expand(len(images), 2, 3)
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        images = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    if photometric and any((contrast, gamma, offset)):
        images = images.clamp(0, 1) ** float(np.exp(gamma))
        images = ((images - 0.5) * float(np.exp(contrast)) + 0.5 + offset).clamp(0, 1)
    return images


@dataclass(frozen=True, slots=True, kw_only=True)
class VarianceShares:
    """Shares of the variance of a table (versions, rows) of hits that are due to the version, the row, and to what is
    particular to both; they add up to 1 (NaN for a table without variance)."""

    version: float
    row: float
    interaction: float


def variance_shares(hits: NDArray[np.float64]) -> VarianceShares:
    """Variance components of `hits` (versions, rows) in the random model h_vi = m + a_v + b_i + e_vi.

    By the mean squares of a two-way table without repetition: var(a) = (MS_version - MS_e) / rows, var(b) = (MS_row -
    MS_e) / versions, var(e) = MS_e, each at least 0. Unbiased but for that floor; of a network without randomness e is
    the interaction alone. NaN for fewer than two versions or rows. Source: Searle, Casella and McCulloch 1992, section
    4. An estimate.
    """
    versions, rows = hits.shape
    if min(versions, rows) < 2:
        return VarianceShares(version=np.nan, row=np.nan, interaction=np.nan)
    mean, by_version, by_row = hits.mean(), hits.mean(axis=1), hits.mean(axis=0)
    rest = hits - by_version[:, None] - by_row[None, :] + mean
    error = float((rest**2).sum()) / ((versions - 1) * (rows - 1))
    version = max(0.0, float(by_version.var(ddof=1)) - error / rows)
    row = max(0.0, float(by_row.var(ddof=1)) - error / versions)
    whole = version + row + error
    if whole <= 0:
        return VarianceShares(version=np.nan, row=np.nan, interaction=np.nan)
    return VarianceShares(version=version / whole, row=row / whole, interaction=error / whole)
