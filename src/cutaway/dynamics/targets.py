"""Targets y = g(z_1 .. z_k) of k projections of the input: by expression, by name, or any callable.

An expression is arithmetic over z (or z1, z2, ...) with the functions He2 .. He8 (unnormalised), he2 .. he8
(normalised), relu, sign, tanh, exp, cos, sin, abs, erf, sqrt, log. It is parsed into a whitelist of operations (never
`eval`) and runs on numpy arrays and torch tensors. Shapes: fields (n, k) or (..., k), values (...,).
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cutaway.dynamics.hermite import hermite
from cutaway.errors import InputError

NAMED_LINKS = {
    "relu": "relu(z)",
    "sign": "sign(z)",
    "He2": "He2(z)",
    "He3": "He3(z)",
    "He4": "He4(z)",
    "cos2z": "cos(2*z)",
    "tanh-He3": "tanh(He3(z))",
    "z2-gauss": "z**2*exp(-z**2)",
    "parity2": "sign(z1*z2)",
    "product3": "z1*z2*z3",
    "parity3": "sign(z1*z2*z3)",
    "staircase": "z1+z1*z2",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`link` maps fields (..., k) to values (...,); `num_directions` k; `name` for titles; `tree` the expression, where
    it was one."""

    link: Callable[[Any], Any]
    num_directions: int
    name: str
    tree: ast.expr | None = None

    def __call__(self, fields: Any) -> Any:
        """Values at the fields; raises `InputError` when the link returns NaN, infinity or the wrong shape."""
        with np.errstate(all="ignore"):  # what is not finite is refused below
            values = self.link(fields)
        if tuple(values.shape) != tuple(fields.shape[:-1]):
            raise InputError(
                f"target {self.name!r}",
                found=f"values of shape {tuple(values.shape)} for fields {tuple(fields.shape)}",
                expected=f"shape {tuple(fields.shape[:-1])}",
                remedy="let the function give one number a row",
            )
        total = float(abs(values).sum())
        if not math.isfinite(total):
            raise InputError(
                f"target {self.name!r}",
                found="NaN or infinity in its values",
                expected="finite values for Gaussian fields",
                remedy="check the link for logarithms, roots or divisions of negative or zero numbers",
            )
        return values


def target(link: str | Callable[[Any], Any] | Target, num_directions: int | None = None) -> Target:
    """A target from an expression, a name in `NAMED_LINKS`, a callable (give `num_directions`), or itself.

    Raises `InputError` for an expression that is none, holds other words, or names no projection.
    """
    if isinstance(link, Target):
        return link
    if callable(link):
        return Target(link=link, num_directions=num_directions or 1, name=getattr(link, "__name__", "callable"))
    expression = NAMED_LINKS.get(link, link)
    tree = _parse(expression)
    used = {int(name[1:] or 1) for name in _names(tree) if re.fullmatch(r"z\d*", name)}
    if 0 in used:
        raise InputError(
            f"target {link!r}",
            found="z0",
            expected="projections numbered from 1: z1, z2, ...",
            remedy="number the projections from 1",
        )
    if not used:
        raise InputError(
            f"target {link!r}",
            found="no projection in it",
            expected="an expression in z or z1, z2, ...",
            remedy="name at least one projection in it",
        )
    count = max(max(used), num_directions or 1)

    def evaluate(fields: Any) -> Any:
        values = _evaluate(tree.body, fields, _functions(fields))
        return values + fields[..., 0] * 0.0

    return Target(link=evaluate, num_directions=count, name=link, tree=tree.body)


def committee(activation: str, num_neurons: int) -> Target:
    """(1/k) sum_r sigma(z_r): the teacher committee of the overlap equations."""
    single = target(f"{activation}(z)" if re.fullmatch(r"\w+", activation) else activation)

    def link(fields: Any) -> Any:
        return sum(single(fields[..., r : r + 1]) for r in range(num_neurons)) / num_neurons

    return Target(link=link, num_directions=num_neurons, name=f"{activation} committee of {num_neurons}")


_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_PLAIN = ("sign", "tanh", "exp", "cos", "sin", "abs", "sqrt", "log")
_KNOWN = {*_PLAIN, "relu", "erf", *(f"He{k}" for k in range(1, 9)), *(f"he{k}" for k in range(1, 9))}


def _parse(expression: str) -> ast.Expression:
    try:
        tree = ast.parse(expression.replace("^", "**"), mode="eval")
    except SyntaxError as error:
        raise InputError(
            f"target {expression!r}",
            found="no valid expression",
            expected="e.g. He3(z1) + z1*z2",
            remedy="correct the expression",
        ) from error
    for node in ast.walk(tree):
        allowed = (
            ast.Expression,
            ast.BinOp,
            ast.UnaryOp,
            ast.USub,
            ast.UAdd,
            ast.Call,
            ast.Name,
            ast.Load,
            ast.Constant,
            *_BINARY,
        )
        unknown = isinstance(node, ast.Name) and not (re.fullmatch(r"z\d*|pi", node.id) or node.id in _KNOWN)
        if not isinstance(node, allowed) or unknown:
            what = node.id if isinstance(node, ast.Name) else type(node).__name__
            raise InputError(
                f"target {expression!r}",
                found=f"{what!r}",
                expected=f"z, z1, z2, ..., pi, numbers, + - * / **, and {', '.join(sorted(_KNOWN))}",
                remedy="use these words alone",
            )
    return tree


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _functions(fields: Any) -> dict[str, Callable[[Any], Any]]:
    if isinstance(fields, np.ndarray):
        from scipy.special import erf

        table: dict[str, Callable[[Any], Any]] = {name: getattr(np, name) for name in _PLAIN}
        table |= {"relu": lambda v: np.maximum(v, 0.0), "erf": lambda v: erf(np.asarray(v) / math.sqrt(2.0))}
    else:
        import torch

        table = {name: getattr(torch, name) for name in _PLAIN}
        table |= {"relu": torch.relu, "erf": lambda v: torch.erf(v / math.sqrt(2.0))}
    for k in range(1, 9):
        table[f"He{k}"] = lambda v, k=k: hermite(v, k)
        table[f"he{k}"] = lambda v, k=k: hermite(v, k) / math.sqrt(math.factorial(k))
    return table


def _evaluate(node: ast.AST, fields: Any, functions: dict[str, Callable[[Any], Any]]) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.Name):
        return math.pi if node.id == "pi" else fields[..., int(node.id[1:] or 1) - 1]
    if isinstance(node, ast.UnaryOp):
        value = _evaluate(node.operand, fields, functions)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left, right = _evaluate(node.left, fields, functions), _evaluate(node.right, fields, functions)
        try:
            return _BINARY[type(node.op)](left, right)
        except (OverflowError, ZeroDivisionError) as error:  # of two numbers
            raise InputError(
                "target expression",
                found=f"{ast.unparse(node)[:60]}, which is no finite number ({error.args[-1]})",
                expected="numbers that float64 holds",
                remedy="write the target with smaller numbers",
            ) from error
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1:
        return functions[node.func.id](_evaluate(node.args[0], fields, functions))
    raise InputError(
        "target expression",
        found=ast.dump(node)[:60],
        expected="a function of one argument",
        remedy="write it with functions of one argument",
    )
