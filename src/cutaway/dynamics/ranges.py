"""Between which numbers an expression stays, whatever its projections are: interval arithmetic on how it is written."""

from __future__ import annotations

import ast
import math

import numpy as np

from cutaway.dynamics.closed_form import called_function

Range = tuple[float, float]
WHOLE: Range = (-math.inf, math.inf)


def constant_of(node: ast.expr) -> float | None:
    """The value of an expression without projections; None for one with them, and for one without a finite value."""
    if any(isinstance(n, ast.Name) and n.id.startswith("z") for n in ast.walk(node)):
        return None
    low, high = values_between(node)
    middle = (low + high) / 2
    return middle if math.isfinite(middle) and high - low <= 1e-9 * max(1.0, abs(middle)) else None


def values_between(node: ast.expr) -> Range:
    """The least and the largest value that it can have; wider where that is not known. Rounded outwards."""
    with np.errstate(all="ignore"):
        low, high = _range(node)
    return (low, high) if low <= high else WHOLE  # also for what is no number


def _outwards(low: float, high: float) -> Range:
    """A little wider: an end of a computation is off by its rounding. Infinite ends stay."""
    return low - abs(low) * 1e-15 - 1e-300, high + abs(high) * 1e-15 + 1e-300


def _range(node: ast.expr) -> Range:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value), float(node.value)
    if isinstance(node, ast.Name):
        return (math.pi, math.pi) if node.id == "pi" else WHOLE
    if isinstance(node, ast.UnaryOp):
        low, high = values_between(node.operand)
        return (-high, -low) if isinstance(node.op, ast.USub) else (low, high)
    if isinstance(node, ast.BinOp):
        return _of_two(node)
    if isinstance(node, ast.Call) and called_function(node):
        return _of_function(called_function(node), values_between(node.args[0]))
    return WHOLE


def _of_two(node: ast.BinOp) -> Range:
    left, right = values_between(node.left), values_between(node.right)
    if isinstance(node.op, ast.Add):
        return _outwards(left[0] + right[0], left[1] + right[1])
    if isinstance(node.op, ast.Sub):
        return _outwards(left[0] - right[1], left[1] - right[0])
    if isinstance(node.op, ast.Pow):
        return _power(left, right)
    if isinstance(node.op, ast.Mult):
        if ast.dump(node.left) == ast.dump(node.right):
            return _power(left, (2.0, 2.0))
        return _product(left, right)
    if right[0] < 0 < right[1] or right == (0.0, 0.0):
        return WHOLE
    least = -math.inf if right[1] == 0 else 1 / right[1]
    return _product(left, (least, 1 / right[0] if right[0] else math.inf))


def _product(left: Range, right: Range) -> Range:
    """Where one of two is 0, the product of finite values is."""
    ends = [0.0 if a == 0 or b == 0 else a * b for a in left for b in right]
    low, high = _outwards(min(ends), max(ends))
    return (max(low, 0.0) if left[0] >= 0 <= right[0] else low), high


def _power(base: Range, exponent: Range) -> Range:
    power = exponent[0]
    if exponent[0] != exponent[1] or not math.isfinite(power):
        return (0.0, math.inf) if base[0] >= 0 else WHOLE
    if power == 0:
        return 1.0, 1.0
    if power.is_integer() and base[0] < 0:
        if power < 0:
            return (0.0, math.inf) if power % 2 == 0 else WHOLE
        ends = [_raised(base[0], power), _raised(base[1], power)]
        if power % 2:
            return ends[0], ends[1]
        return (0.0 if base[1] >= 0 else ends[1]), max(ends)
    if base[0] < 0:
        return 0.0, math.inf  # roots of what is not negative, where they are numbers
    ends = sorted((_raised(base[0], power), _raised(base[1], power)))
    return max(_outwards(ends[0], ends[0])[0], 0.0), _outwards(ends[1], ends[1])[1]


def _raised(value: float, power: float) -> float:
    return float(np.float64(value) ** power)


def _of_function(name: str, inner: Range) -> Range:
    low, high = inner
    if name in ("sin", "cos"):
        value = float(getattr(np, name)(low))
        return _outwards(value, value) if low == high and math.isfinite(low) else (-1.0, 1.0)
    if name in ("tanh", "sign"):
        return float(getattr(np, name)(low)), float(getattr(np, name)(high))
    if name == "erf":
        return math.erf(low / math.sqrt(2.0)), math.erf(high / math.sqrt(2.0))
    if name == "exp":
        return max(_outwards(float(np.exp(low)), 0.0)[0], 0.0), _outwards(0.0, float(np.exp(high)))[1]
    if name == "relu":
        return max(low, 0.0), max(high, 0.0)
    if name == "abs":
        return (0.0 if low <= 0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))
    if name == "sqrt":
        ends = _outwards(math.sqrt(max(low, 0.0)), float(np.sqrt(max(high, 0.0))))
        return max(ends[0], 0.0), ends[1]
    if name == "log":
        return _outwards(float(np.log(max(low, 0.0))), float(np.log(max(high, 0.0))))
    if name in ("He2", "he2"):
        scale = 1.0 if name == "He2" else 1 / math.sqrt(2.0)
        squares = _power(inner, (2.0, 2.0))
        return _outwards(scale * (squares[0] - 1), scale * (squares[1] - 1))
    return WHOLE
