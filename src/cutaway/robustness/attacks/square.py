"""Square attack (Andriushchenko, Croce, Flammarion and Hein, arXiv 1912.00049): random search with square changes.

Only scores are asked. Inputs `(n, channels, height, width)` are changed in square windows; tables `(n, columns)` are
taken as one row of pixels, sequences `(n, channels, length)` likewise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from cutaway.errors import InputError
from cutaway.robustness.attacks.ball import rows_like, rows_norm
from cutaway.robustness.attacks.base import Attack

HALVINGS = (10, 50, 200, 1000, 2000, 4000, 6000, 8000)
"""Queries, out of 10,000, after which the window's share of the picture is halved."""


@dataclass(frozen=True, kw_only=True)
class Square(Attack):
    """`steps` queries of random search on the goal's value (the margin, for classes); a change is kept if it raises it.

    linf: start from vertical stripes of +-radius; then every window is filled with +-radius, one sign a channel. l2:
    start from a grid of 5 x 5 tiles of two-sided bumps; then the mass of a second window, with what is left of the
    budget, is moved into a bump in a first one. The window's share of the picture starts at `share` and is halved after
    10, 50, 200, 1000, ... of 10,000 queries, scaled to `steps` (Section 3 of the paper). We differ: the margin loss
    with targets as well (the paper takes cross-entropy there). Cost: steps + 2 forward passes a row.
    """

    steps: int = 1000
    share: float = 0.3
    restarts: int = 1

    name: ClassVar[str] = "square"

    def _attack(self, aim, inputs, ball, generator):
        best, value = inputs.clone(), aim.value(inputs)
        for _ in range(self.restarts):
            self._search(aim, ball, generator, best, value)
        return best

    def _search(self, aim, ball, generator, best, value) -> None:
        layout = picture(tuple(best.shape[1:]))
        propose = _fill if self.norm == "inf" else _move_mass
        start = _stripes(len(best), layout, generator) if self.norm == "inf" else _tiles(len(best), layout, generator)
        change = start.to(best) * (ball.data_radius or 0.0)
        rows = torch.arange(len(best), device=best.device)
        least = torch.full_like(value, -torch.inf)
        for step in range(self.steps + 1):
            if self.stop_early:
                rows = rows[~aim.reached(value[rows])]
            if len(rows) == 0:
                return
            some = ball.select(rows)
            trial_change = change[rows]
            if step:
                side = _side(layout, share_after(step, self.steps, self.share))
                trial_change = propose(trial_change, side, ball.data_radius, generator)
            trial = some.project(some.center + trial_change.reshape(some.center.shape) * some.unit)
            loss = aim.select(rows).value(trial)
            rose = loss > least[rows]
            change[rows[rose]], least[rows[rose]] = trial_change[rose], loss[rose]
            better = loss > value[rows]
            best[rows[better]], value[rows[better]] = trial[better], loss[better]


def picture(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """An input's shape as (channels, height, width). Raises `InputError` for more than three dimensions."""
    if len(shape) == 1:
        return 1, 1, shape[0]
    if len(shape) == 2:
        return shape[0], 1, shape[1]
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    raise InputError(
        "attack 'square'",
        found=f"inputs of shape {shape}",
        expected="at most (channels, height, width)",
        remedy="reshape the inputs to images or to rows",
    )


def share_after(step: int, steps: int, share: float) -> float:
    """Share of the picture that a window takes in query `step` of `steps`."""
    done = int(step / steps * 10_000)
    return share / 2 ** sum(done > h for h in HALVINGS)


def _side(layout: tuple[int, int, int], share: float) -> tuple[int, int]:
    """Height and width of a window of about `share` of the picture."""
    _, height, width = layout
    if height == 1:
        return 1, min(max(round(share * width), 1), width)
    side = round((share * height * width) ** 0.5)
    return min(max(side, 1), height), min(max(side, 1), width)


def _stripes(rows: int, layout: tuple[int, int, int], generator: torch.Generator) -> torch.Tensor:
    channels, height, width = layout
    signs = torch.randint(0, 2, (rows, channels, 1, width), generator=generator) * 2.0 - 1
    return signs.expand(rows, channels, height, width).clone()


def _corner(rows: int, layout: tuple[int, ...], side: tuple[int, int], generator: torch.Generator):
    """Top left corners of a random window for every row."""
    (_, height, width), (tall, wide) = layout, side
    return (
        torch.randint(0, height - tall + 1, (rows,), generator=generator),
        torch.randint(0, width - wide + 1, (rows,), generator=generator),
    )


def _window(corner, side: tuple[int, int], layout: tuple[int, ...]) -> torch.Tensor:
    """Mask `(n, 1, height, width)` of the windows."""
    _, height, width = layout
    y, x = torch.arange(height)[None, :, None], torch.arange(width)[None, None, :]
    top, left = (c[:, None, None] for c in corner)
    return ((y >= top) & (y < top + side[0]) & (x >= left) & (x < left + side[1])).unsqueeze(1)


def _fill(change: torch.Tensor, side: tuple[int, int], radius: float, generator: torch.Generator) -> torch.Tensor:
    """linf: windows filled with +-radius, one sign a channel."""
    rows, layout = len(change), tuple(change.shape[1:])
    mask = _window(_corner(rows, layout, side, generator), side, layout).to(change.device)
    signs = torch.randint(0, 2, (rows, layout[0], 1, 1), generator=generator).to(change) * 2 - 1
    return torch.where(mask, signs * radius, change)


def bump(height: int, width: int) -> torch.Tensor:
    """A pyramid-like hill over (height, width): at ring distance m from the rim the value is the sum of
    1 / (n + 1 - k)^2 over k = 0 .. m, with n rings to the middle."""
    middle = min((height - 1) // 2, (width - 1) // 2)
    y, x = torch.arange(height), torch.arange(width)
    rim = torch.minimum(torch.minimum(y, height - 1 - y)[:, None], torch.minimum(x, width - 1 - x)[None, :]).clamp_max(
        middle
    )
    weights = 1.0 / (middle + 1 - torch.arange(middle + 1, dtype=torch.float64)) ** 2
    return weights.cumsum(0)[rim]


def two_sided(height: int, width: int) -> torch.Tensor:
    """A bump beside a negative one, (height, width), of unit norm; one of the two where there is no room."""
    half, upright = (height // 2, True) if height > 1 else (width // 2, False)
    if half == 0:
        whole = bump(height, width)
    elif upright:
        whole = torch.cat([bump(half, width), -bump(height - half, width)], dim=0)
    else:
        whole = torch.cat([bump(height, half), -bump(height, width - half)], dim=1)
    return whole / whole.norm()


def _tiles(rows: int, layout: tuple[int, int, int], generator: torch.Generator) -> torch.Tensor:
    """l2: a grid of at most 5 x 5 two-sided bumps with random signs, of unit norm a row."""
    channels, height, width = layout
    tall, wide = max(height // 5, 1), max(width // 5, 1)
    whole = torch.zeros(rows, channels, height, width, dtype=torch.float64)
    for top in range(0, height - tall + 1, tall):
        for left in range(0, width - wide + 1, wide):
            signs = torch.randint(0, 2, (rows, channels, 1, 1), generator=generator) * 2.0 - 1
            whole[:, :, top : top + tall, left : left + wide] = two_sided(tall, wide) * signs
    return whole / rows_like(rows_norm(whole, "2").clamp_min(1e-30), whole)


def _move_mass(change: torch.Tensor, side: tuple[int, int], radius: float, generator: torch.Generator) -> torch.Tensor:
    """l2: empty a second window, give its mass and the unused budget to a bump in the first."""
    rows, layout = len(change), tuple(change.shape[1:])
    corner = _corner(rows, layout, side, generator)
    first = _window(corner, side, layout).to(change.device)
    second = _window(_corner(rows, layout, side, generator), side, layout).to(change.device)
    signs = torch.randint(0, 2, (rows, layout[0], 1, 1), generator=generator).to(change) * 2 - 1
    pattern = two_sided(*side)
    if side[0] > 1 and side[0] == side[1]:
        turn = torch.randint(0, 2, (rows, 1, 1), generator=generator).bool()
        patterns = torch.where(turn, pattern.T.unsqueeze(0), pattern.unsqueeze(0))
    else:
        patterns = pattern.unsqueeze(0).expand(rows, *side)
    placed = _placed(patterns, corner, layout).to(change) * signs
    unused = (radius**2 - change.flatten(1).square().sum(1)).clamp_min(0)
    inside = (change * first).flatten(2)
    old = inside / inside.norm(dim=2, keepdim=True).clamp_min(1e-30)
    new = placed + old.reshape(change.shape)
    gone = new.flatten(2).norm(dim=2) < 1e-6  # the bump cancels what stood there: the mass would be lost
    new = torch.where(gone[:, :, None, None], placed, new)
    mass = (change * (first | second)).flatten(2).square().sum(2) + unused[:, None] / layout[0]
    new = new * (mass.sqrt() / new.flatten(2).norm(dim=2).clamp_min(1e-30))[:, :, None, None]
    return torch.where(first, new, torch.where(second, 0.0, change))


def _placed(patterns: torch.Tensor, corner, layout: tuple[int, ...]) -> torch.Tensor:
    """Patterns `(n, tall, wide)` at their corners in empty pictures `(n, 1, height, width)`."""
    rows, tall, wide = patterns.shape
    empty = torch.zeros(rows, layout[1], layout[2], dtype=patterns.dtype)
    y = corner[0][:, None, None] + torch.arange(tall)[None, :, None]
    x = corner[1][:, None, None] + torch.arange(wide)[None, None, :]
    empty[torch.arange(rows)[:, None, None], y, x] = patterns
    return empty.unsqueeze(1)
