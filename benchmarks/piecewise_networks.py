"""Random piecewise-affine networks made of every operator that slices know, and an oracle that knows nothing of slices.

`random_piecewise(generator)` gives a float64 module with the shape of its input; `disagreement(model, result)` compares
a slice with the module itself at points spread over the domain: value and derivative of the module, by autograd through
its own forward, against the affine map of the face that holds the point. A face that covers two pieces, a wrong map and
a hole show; a piece smaller than the distance of the points does not.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Function(nn.Module):
    """A plain function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _written(h: Tensor) -> Tensor:
    h = h.clone()
    h[:, : h.shape[1] // 2].relu_()
    return h


def _larger(h: Tensor) -> Tensor:
    other = h.flip(1)
    return torch.where(h > other, h, other)


def _masked(h: Tensor) -> Tensor:
    h = h.clone()
    h[h < 0] = 0.0
    return h


BENDS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "leaky_relu": lambda h: F.leaky_relu(h, 0.2),
    "abs": torch.abs,
    "hardtanh": lambda h: F.hardtanh(h, -0.4, 0.7),
    "softshrink": lambda h: F.softshrink(h, 0.2),
    "threshold": lambda h: F.threshold(h, 0.1, 0.1),
    "mask": lambda h: h * (h > 0),
    "number_mask": lambda h: h * (h >= 0).to(h.dtype),
    "inverted_mask": lambda h: h * ~(h > 0),
    "where": lambda h: torch.where(h > 0, h, torch.zeros_like(h)),
    "where_slopes": lambda h: torch.where(h <= 0, 0.3 * h, 2 * h),
    "where_threshold": lambda h: torch.where(h > 0.2, 2 * h - 0.2, h),
    "where_larger": _larger,
    "masked_fill": lambda h: h.masked_fill(h < 0, 0.0),
    "index_put": _masked,
    "sign": lambda h: h * h.sign(),
    "view_write": _written,
    "sort": lambda h: h.sort(1)[0],
    "sort_down": lambda h: h.sort(1, descending=True)[0],
    "cummax": lambda h: h.cummax(1)[0],
    "cummin": lambda h: h.cummin(1)[0],
    "sign_mask": lambda h: (h.sign() + 1) / 2 * h,
    "heaviside_mask": lambda h: h * torch.heaviside(h.detach(), h.new_zeros(())),
    "fmax": lambda h: torch.fmax(h, h.roll(1, 1)),
    "norm_1": lambda h: h - h.norm(1, dim=1, keepdim=True),
    "cumsum": lambda h: torch.relu(h.cumsum(1)),
}
"""Functions that keep every shape."""

JUMPS: dict[str, Callable[[Tensor], Tensor]] = {
    "hardshrink": lambda h: F.hardshrink(h, 0.3),
    "threshold_jump": lambda h: F.threshold(h, 0.1, -0.5),
    "where_jump": lambda h: torch.where(h > 0, h + 1, h),
    "where_pairs": lambda h: torch.where(h > h.flip(1), h + 1, 2 * h),
    "masked_fill_jump": lambda h: h.masked_fill(h < 0, 0.7),
    "mask_jump": lambda h: h * (h > 0.5),
    "mask_of_others": lambda h: h * (h.roll(1, 1) > 0.1),
    "index_put_jump": lambda h: h.index_put((h < 0.2,), h.new_tensor(0.9)),
    "sign_jump": lambda h: torch.sign(h) + 0.1 * h,
    "steps": lambda h: (h > 0).to(h.dtype) - 0.2 * h,
    "heaviside": lambda h: torch.heaviside(h.detach(), h.new_tensor(0.5)) + h,
    "any": lambda h: torch.where((h > 0.3).any(1, keepdim=True), h, -h),
    "both": lambda h: torch.where((h > 0.0) & (h.flip(1) < 0.2), h, 0.3 * h.roll(1, 1)),
    "dead": lambda h: torch.where(torch.relu(h) == 0, h.roll(1, 1), h),
    "count": lambda h: h * (h > 0).to(h.dtype).sum(1, keepdim=True),
}
"""Functions that jump."""

IMAGES: dict[str, Callable[[], nn.Module]] = {
    "circular": lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"),
    "reflect": lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
    "bilinear": lambda: nn.Upsample(size=(5, 6), mode="bilinear"),
    "bilinear_corners": lambda: nn.Upsample(scale_factor=1.5, mode="bilinear", align_corners=True),
    "adaptive_max": lambda: nn.AdaptiveMaxPool2d((2, 3)),
    "max_pool": lambda: nn.MaxPool2d(3, 2, 1),
    "lp_pool": lambda: nn.LPPool2d(1, 2),
    "avg_pool": lambda: nn.AvgPool2d(2, ceil_mode=True),
}


def random_piecewise(generator: torch.Generator) -> tuple[nn.Module, tuple[int, ...], list[str]]:
    """(module in float64 and evaluation mode, input shape without batch, names of its parts)."""

    def pick(names: list[str]) -> str:
        return names[int(torch.randint(0, len(names), (1,), generator=generator))]

    def bend() -> nn.Module:
        parts.append(pick([*BENDS, *JUMPS]))
        return Function({**BENDS, **JUMPS}[parts[-1]])

    parts: list[str] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(0, 2**31 - 1, (1,), generator=generator)))
        shape = (2,) if torch.rand((), generator=generator) < 0.5 else (1, 4, 4)
        if shape == (2,):
            layers: list[nn.Module] = [nn.Linear(2, 8), bend(), nn.Linear(8, 6), bend()]
        else:
            parts.append(pick(list(IMAGES)))
            layers = [nn.Conv2d(1, 2, 3, padding=1), bend(), IMAGES[parts[-2]](), nn.Flatten()]
        wide = nn.Sequential(*layers).double()(torch.zeros(1, *shape, dtype=torch.float64)).shape[1]
        return nn.Sequential(*layers, nn.Linear(wide, 3)).double().eval(), shape, parts


def disagreement(model: nn.Module, result, generator: np.random.Generator, count: int = 300) -> tuple[float, float]:
    """Largest differences (of values, of slopes along the plane) between the module and the slice's affine maps, as
    shares of the largest value and slope; points within 1e-6 of an edge are left out."""
    corners = result.domain
    points = generator.dirichlet(np.ones(len(corners)), count) @ corners
    faces = result.locate(points)
    assert (faces >= 0).all(), "a point that no face holds"
    a, b = (result.vertices[result.edges[:, k]] for k in (0, 1))
    along = b - a
    share = np.einsum("ped,ed->pe", points[:, None] - a, along) / np.maximum((along**2).sum(axis=1), 1e-300)
    distance = np.linalg.norm(points[:, None] - a - np.clip(share, 0, 1)[..., None] * along, axis=2).min(axis=1)
    points, faces = points[distance > 1e-6], faces[distance > 1e-6]
    value, slope = _by_autograd(model, result.plane, points)
    inside = result.measures.interior[faces]
    ours = result.interior_outputs[faces] + np.einsum("ncd,nd->nc", result.slopes[faces], points - inside)
    size = max(float(np.abs(value).max(initial=0.0)), 1e-300), max(float(np.abs(slope).max(initial=0.0)), 1e-300)
    return float(np.abs(ours - value).max(initial=0.0)) / size[0], float(
        np.abs(result.slopes[faces] - slope).max(initial=0.0)
    ) / size[1]


def _by_autograd(model: nn.Module, plane, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inputs = torch.from_numpy(plane.lift(points)).requires_grad_(True)
    outputs = model(inputs)
    rows = [torch.autograd.grad(outputs[:, c].sum(), inputs, retain_graph=True)[0] for c in range(outputs.shape[1])]
    gradient = torch.stack(rows, dim=1).flatten(2).numpy()
    return outputs.detach().numpy(), gradient @ plane.directions.T
