"""Elementwise functions: their range and two lines around them on an interval [l, u].

A `Curve` (`network.graph.facts`) describes one function by what its bounds need. Three kinds:

- `piecewise`: affine between `kinks`. For a slope a the best offset is min (max) of f(x) - a x over l, u and the kinks
  between them: exact.
- `convex` (or `concave`) where it is used: below (above) a tangent, above (below) the chord: exact.
- `smooth`: |f''| <= `curvature` on [-core, core] and <= `tail` outside; see `smooth`.

Lines (as CROWN, arXiv 1811.00866; the choice of slopes is ours): an unstable ReLU has the chord above and a slope
in [0, 1] below (1 where u > -l, else 0, until it is optimised); smooth functions take the slope of their lower and
upper envelope at the middle of [l, u]. Everything is shaped like l and u; an interval outside the function's domain or
with an infinite end gives NaN, which no verdict counts as proof. Offsets carry a slack of 1e-13 relative.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cutaway.network.graph import Node
from cutaway.network.graph.fact import Curve
from cutaway.network.graph.facts import CURVES
from cutaway.robustness.bounds.smooth import Lines, envelope_slope, rounding_slack, smooth_lines, value
from cutaway.robustness.bounds.steps import step_lines, wide

UNARY = CURVES
"""op -> what is known of it: the records of `network.graph.facts`."""


def _widen(x: Tensor, sign: float) -> Tensor:
    return x + sign * (1e-14 * x.abs() + 1e-300)


def _rounding(node: Node, lower: Tensor, upper: Tensor) -> tuple[Tensor | float, float]:
    """What `Curve.cancels` and `Curve.shortcut` say of f on [lower, upper]."""
    rule = UNARY[node.op]
    cancels = rule.cancels(node, torch.maximum(lower.abs(), upper.abs())) if rule.cancels else 0.0
    return cancels, rule.shortcut(node) if rule.shortcut else 0.0


def unary_range(node: Node, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Range of f on [lower, upper]; exact up to rounding for all kinds but a turning point found numerically."""
    rule = UNARY[node.op]
    ends = value(node, lower), value(node, upper)
    if rule.increasing(node) and not rule.jumps:
        low, high = ends
    else:
        low, high = torch.minimum(*ends), torch.maximum(*ends)
        for x, y in _extremes(node, rule, lower, upper):
            inside = (lower <= x) & (x <= upper)
            low = torch.where(inside, torch.minimum(low, y), low)
            high = torch.where(inside, torch.maximum(high, y), high)
        if rule.peak is not None:
            low, high = _periodic(rule, lower, upper, low, high)
    cancels, shortcut = _rounding(node, lower, upper)
    noise = torch.finfo(lower.dtype).eps * cancels + shortcut
    low, high = _widen(low - noise, -1).clamp(min=rule.limits[0]), _widen(high + noise, 1).clamp(max=rule.limits[1])
    bad = ~_allowed(node, rule, lower, upper)
    return torch.where(bad, -math.inf, low), torch.where(bad, math.inf, high)


def _allowed(node: Node, rule: Curve, lower: Tensor, upper: Tensor) -> Tensor:
    return lower > rule.domain if rule.defined is None else rule.defined(node, lower, upper)


def _extremes(node: Node, rule: Curve, lower: Tensor, upper: Tensor):
    for x, y in rule.jumps(node) if rule.jumps else ():
        yield torch.full_like(lower, x), torch.full_like(lower, y)
    points = rule.turning(node) if rule.turning else rule.kinks(node) if rule.kinks else ()
    for x in points:
        point = torch.full_like(lower, x)
        y = value(node, point)
        yield point, y - (1e-12 if rule.kind == "smooth" else 0.0)  # there the place was found numerically


def _periodic(rule: Curve, lower: Tensor, upper: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    top = rule.peak or 0.0

    def hits(phase: float) -> Tensor:
        turn = 2 * math.pi
        return torch.floor((upper + 1e-9 - phase) / turn) >= torch.ceil((lower - 1e-9 - phase) / turn)

    least, most = rule.limits
    return torch.where(hits(top - math.pi), least, low), torch.where(hits(top), most, high)


def lines(node: Node, lower: Tensor, upper: Tensor, alpha: Tensor | None = None) -> Lines:
    """Two lines that enclose f on [lower, upper]. `alpha` in [0, 1] places the free line (see `tunable`)."""
    rule = UNARY[node.op]
    kind = rule.kind_of(node)
    if kind == "piecewise":
        found = _piecewise(node, rule, lower, upper, alpha)
    elif kind == "signed":  # convex for positive, concave for negative arguments
        found = _signed(node, rule, lower, upper)
    elif kind == "steps":
        a, b, c, d = step_lines(node, lower, upper, alpha)
        found = a, b - rounding_slack(lower, upper, a, b), c, d + rounding_slack(lower, upper, c, d)
    elif kind in ("convex", "concave"):
        found = _curved(node, rule, kind, lower, upper, alpha)
    else:
        found = smooth_lines(node, rule, lower, upper)
    cancels, shortcut = _rounding(node, lower, upper)
    noise = 4 * torch.finfo(lower.dtype).eps * cancels + shortcut
    found = found[0], found[1] - noise, found[2], found[3] + noise
    bad = ~(_allowed(node, rule, lower, upper) & torch.isfinite(lower) & torch.isfinite(upper))
    if not bool(bad.any()):
        return found
    a, b, c, d = (torch.where(bad, math.nan, part) for part in found)
    return a, b, c, d


def tunable(node: Node) -> bool:
    """Whether `lines` has a free choice that gradient ascent may improve."""
    return UNARY[node.op].kind_of(node) in ("piecewise", "convex", "concave", "steps")


def initial_alpha(node: Node, lower: Tensor, upper: Tensor) -> Tensor:
    """The default of `alpha`, spelled out."""
    if UNARY[node.op].kind == "steps":
        return wide(lower, upper)
    if UNARY[node.op].kind_of(node) == "piecewise":  # where ascent begins, no fact: any value is sound
        return (upper > -lower).to(lower.dtype) if node.op in ("relu", "leaky_relu") else torch.full_like(lower, 0.5)
    return torch.full_like(lower, 0.5)


def is_stable(node: Node, lower: Tensor, upper: Tensor) -> Tensor:
    """Where the function is affine on the whole interval, so that tighter limits cannot help."""
    rule = UNARY[node.op]
    if rule.kind == "steps":
        return value(node, lower) == value(node, upper)
    if rule.kinks is None or rule.kind != "piecewise":
        return lower >= upper
    stable = torch.ones_like(lower, dtype=torch.bool)
    for jump, _ in rule.jumps(node) if rule.jumps else ():
        stable = stable & ~((lower <= jump) & (jump <= upper))
    for kink in rule.kinks(node):
        stable = stable & ~((lower < kink) & (kink < upper))
    return stable


def _chord(node: Node, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    low, high = value(node, lower), value(node, upper)
    width = upper - lower
    slope = torch.where(width > 0, (high - low) / torch.where(width > 0, width, 1.0), 0.0)
    return slope, low - slope * lower


def _piecewise(node: Node, rule: Curve, lower: Tensor, upper: Tensor, alpha: Tensor | None) -> Lines:
    assert rule.kinks is not None
    if node.op == "relu":  # a relaxation of its own, as those of clamp, abs and leaky_relu below: no fact, a rule
        return _relu(lower, upper, alpha)
    points = torch.stack([lower, upper, *(torch.full_like(lower, k).clamp(lower, upper) for k in rule.kinks(node))])
    values = torch.stack([value(node, p) for p in points])
    if rule.jumps:
        points, values = _with_jumps(node, rule, points, values)
        middle = (lower + upper) / 2
        slope_low, slope_high = (sign * envelope_slope(points, sign * values, middle) for sign in (1.0, -1.0))
    else:
        slope_low, slope_high = _free_slopes(node, lower, upper, alpha)
    offset_low = (values - slope_low * points).amin(0)
    offset_high = (values - slope_high * points).amax(0)
    return (
        slope_low,
        offset_low - rounding_slack(lower, upper, slope_low, offset_low),
        slope_high,
        offset_high + rounding_slack(lower, upper, slope_high, offset_high),
    )


def _with_jumps(node: Node, rule: Curve, points: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    assert rule.jumps is not None
    lower, upper = points[0], points[1]
    for x, y in rule.jumps(node):
        place = torch.full_like(lower, x).clamp(lower, upper)
        points = torch.cat([points, place.unsqueeze(0)])
        values = torch.cat([values, torch.where(place == x, y, value(node, place)).unsqueeze(0)])
    return points, values


def _free_slopes(node: Node, lower: Tensor, upper: Tensor, alpha: Tensor | None) -> tuple[Tensor, Tensor]:
    """Slopes of the two lines; any value is sound, since the offsets are computed from them."""
    chord, _ = _chord(node, lower, upper)
    given = initial_alpha(node, lower, upper) if alpha is None else alpha.clamp(0, 1)
    stable = is_stable(node, lower, upper)
    if node.op == "clamp":
        return _clamp_slopes(node, lower, upper, chord, alpha)
    before = -1.0 if node.op == "abs" else node.constants["slope"]
    free = before + given * (1.0 - before)
    convex = torch.as_tensor(before) <= 1
    return torch.where(stable | ~convex, chord, free), torch.where(stable | convex, chord, free)


def _clamp_slopes(
    node: Node, lower: Tensor, upper: Tensor, chord: Tensor, alpha: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Below: between 0 and the slope from the first kink to u; above: between 0 and that from l to the last kink."""
    first = -math.inf if node.attributes["min"] is None else node.attributes["min"]
    last = math.inf if node.attributes["max"] is None else node.attributes["max"]
    left, right = lower.clamp(min=first).minimum(upper), upper.clamp(max=last).maximum(lower)
    rise, _ = _chord(node, left, upper)
    climb, _ = _chord(node, lower, right)
    below = (upper - left > left - lower).to(lower.dtype) if alpha is None else alpha.clamp(0, 1)
    above = (right - lower > upper - right).to(lower.dtype) if alpha is None else alpha.clamp(0, 1)
    return torch.where(lower >= first, chord, below * rise), torch.where(upper <= last, chord, above * climb)


def _relu(lower: Tensor, upper: Tensor, alpha: Tensor | None) -> Lines:
    """max(x, 0): nothing for u <= 0, itself for l >= 0, else chord above and alpha x below."""
    zero = torch.zeros_like(lower)
    on, off = lower >= 0, upper <= 0
    open_ = ~(on | off)
    width = torch.where(open_, upper - lower, 1.0)
    chord = torch.where(on, 1.0, torch.where(open_, upper / width, zero))
    free = (upper > -lower).to(lower.dtype) if alpha is None else alpha.clamp(0, 1)
    slope_low = torch.where(on, 1.0, torch.where(open_, free, zero))
    offset_high = torch.where(open_, -chord * lower * (1 + 1e-15) + 1e-300, zero)
    return slope_low, zero, chord, offset_high


def _curved(node: Node, rule: Curve, kind: str, lower: Tensor, upper: Tensor, alpha: Tensor | None) -> Lines:
    assert rule.derivative is not None
    # any point of the interval is sound: the words below only choose a good one
    point = lower + (0.5 if alpha is None else alpha.clamp(0, 1)) * (upper - lower)
    if node.op in ("reciprocal", "rsqrt", "power") and alpha is None:  # keeps the tangent of a pole's branch useful
        point = torch.sqrt((lower * upper).clamp(min=0)) * torch.sign(lower) if node.op != "power" else point
        point = torch.where((lower > 0) | (upper < 0), point, lower).clamp(lower, upper)
    if node.op == "exp" and alpha is None:
        point = torch.minimum(point, lower + 0.99)  # the tangent stays positive at the lower end
    slope = rule.derivative(node, point)
    offset = value(node, point) - slope * point
    chord, chord_offset = _chord(node, lower, upper)
    low_high = (slope, offset, chord, chord_offset) if kind == "convex" else (chord, chord_offset, slope, offset)
    a, b, c, d = low_high
    return a, b - rounding_slack(lower, upper, a, b), c, d + rounding_slack(lower, upper, c, d)


def _signed(node: Node, rule: Curve, lower: Tensor, upper: Tensor) -> Lines:
    positive = _curved(node, rule, "convex", lower, upper, None)
    negative = _curved(node, rule, "concave", lower, upper, None)
    parts = [torch.where(lower > 0, p, n) for p, n in zip(positive, negative)]
    return parts[0], parts[1], parts[2], parts[3]


def derivative_limit(node: Node, lower: Tensor, upper: Tensor) -> Tensor:
    """An upper limit on |f'| over [lower, upper] (how much an error in the input may grow); infinite across a jump."""
    rule = UNARY[node.op]
    if rule.jumps or rule.kind == "steps":
        return torch.full_like(lower, math.inf)
    if rule.derivative is None:
        least, most = rule.slope_range(node)
        return torch.full_like(lower, max(abs(least), abs(most)))
    ends = torch.maximum(rule.derivative(node, lower).abs(), rule.derivative(node, upper).abs())
    if rule.kinks is None:  # |f'| is monotone on either side of 0, and at 0 it is least or a pole
        return ends
    sides = max(map(abs, rule.slope_range(node)))
    for kink in rule.kinks(node):
        ends = torch.where((lower <= kink) & (upper >= kink), ends.clamp(min=sides), ends)
    return ends
