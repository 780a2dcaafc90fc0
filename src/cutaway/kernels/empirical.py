"""The tangent kernel of a finite network, K(x, x') = (1/c) sum_c <df_c(x)/dtheta, df_c(x')/dtheta>, three ways.

`structured` joins factors layer by layer (`kernels.structure`), `jacobian` contracts rows of Jacobians, `products`
moves every row's gradient as a tangent and never holds more than a few vectors of length P. All are exact up to
rounding and agree to 1e-10 in float64. Norms of a kernel grow many times over in training: compare by cosine.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.func import vjp

from cutaway.engines.budget import chunk_size
from cutaway.errors import InputError
from cutaway.kernels.checked import checked_kernel, checked_rows
from cutaway.kernels.structure import joined, layer_factors, working_bytes
from cutaway.network import Network
from cutaway.network.calculus import Parameters, jacobian_chunks, parameter_tangents
from cutaway.network.gradient import derivatives
from cutaway.network.misfit import misfit
from cutaway.network.network import DEFAULT_BUDGET

_PIECE = 2**15
METHODS = ("auto", "structured", "jacobian", "products")
"""Ways to the same kernel."""


def tangent_kernel(
    network: Network | nn.Module,
    left: torch.Tensor,
    right: torch.Tensor | None = None,
    *,
    method: str = "auto",
    double: bool = False,
    budget: int | None = None,
) -> torch.Tensor:
    """K (n, m) between rows of `left` and `right` (`left` itself where None), mean over outputs.

    method : `auto` takes `structured` where every parameter belongs to one call of a linear layer or 2-d convolution
        (checked against Jacobians of two rows where the budget holds one), else `jacobian` where a row's Jacobian fits
        the budget, else `products`.
    double : compute in float64, on a copy. Half-precision networks always are.
    budget : bytes that the work may take; the result is not counted.

    Cost: `structured` one forward and c backward passes a row and n m numbers of each layer's widths; `jacobian` the
    same passes and n m c P; `products` c m passes over all rows. What of `right` does not fit beside `left` at once
    goes through anew for every block of `left`. A row without a gradient (of zeros, in a network without biases) has
    kernel 0 with all. Raises `InputError` for an unknown method, `structured` where it does not apply, rows that are
    not finite, and a kernel that its type does not hold (inputs of 1e20 in float32); `ModelError` for rows that the
    network does not take; `BudgetError` where a copy in float64, or the least that a method holds, does not fit. Exact
    up to rounding. Source: Jacot, Gabriel and Hongler 2018, mean over outputs.
    """
    if method not in METHODS:
        raise InputError(
            "kernel method",
            found=repr(method),
            expected=", ".join(METHODS),
            remedy="leave it out to have the cheapest chosen",
        )
    left = checked_rows("rows of a kernel", left)
    right = None if right is None else checked_rows("rows of a kernel, right", right)
    network = network if isinstance(network, Network) else Network(network, left[:2])
    network, budget = network.with_example(left[:2]), budget or DEFAULT_BUDGET
    for rows in (left,) if right is None else (left, right):
        _check_taken(network, rows)
    if network.dtype != torch.float64 and (double or network.dtype in (torch.float16, torch.bfloat16)):
        chunk_size(8 * network.num_parameters, budget)  # the copy
        network = network.double()
    Parameters.check(network)
    if method == "auto":
        method = _cheapest(network, left, budget)
    if method == "structured":
        found = _structured(network, left, right, budget)
    else:
        work = _by_jacobians if method == "jacobian" else _by_products
        found = work(Parameters(network), left, right, budget) / network.output_shape[0]
    return checked_kernel(found, doubled="give double=True")


def _check_taken(network: Network, rows: torch.Tensor) -> None:
    """Raise the error of a network that does not run on these rows; one pass of one row, where they are not like its
    example."""
    example = network.example
    assert example is not None
    if rows.shape[1:] == example.shape[1:] and rows.is_floating_point() == example.is_floating_point():
        return
    try:
        with torch.no_grad():
            network.forward(network.place(rows[:1]))
    except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
        raise misfit(network.model, network.name, rows[:1], error) from error


def _cheapest(network: Network, inputs: torch.Tensor, budget: int) -> str:
    size = torch.finfo(network.dtype).bits // 8
    row = 4 * size * network.output_shape[0] * network.num_parameters
    two = inputs[:2]
    factors = layer_factors(network, two)
    if factors is not None:
        if 2 * row > budget // 2:
            return "structured"  # no Jacobian to check against fits
        mine, wanted = joined(factors, factors), _by_jacobians(Parameters(network), two, None, budget)
        close = 1e-9 if network.dtype == torch.float64 else 1e-3
        if float((mine - wanted).abs().max()) <= close * float(wanted.abs().max()):
            return "structured"
    return "jacobian" if row <= budget // 4 else "products"


def _structured(network: Network, left: torch.Tensor, right: torch.Tensor | None, budget: int) -> torch.Tensor:
    first = layer_factors(network, left[:1])
    if first is None:
        raise InputError(
            f"network {network.name!r}",
            found="a parameter that is not used once, by a linear layer or an ungrouped 2-d convolution",
            expected="only such parameters for the structured kernel",
            remedy="use method='jacobian'",
        )
    chunk_size(working_bytes(first, 1), budget // 2)
    step = 1
    while step < len(left) and working_bytes(first, 2 * step) <= budget // 2:
        step *= 2
    other = left if right is None else right
    kernel = torch.zeros(len(left), len(other), dtype=network.dtype, device=network.device)
    for start in range(0, len(left), step):
        rows = slice(start, start + step)
        mine = layer_factors(network, left[rows])
        for begin in range(start if right is None else 0, len(other), step):
            columns = slice(begin, begin + step)
            theirs = mine if right is None and begin == start else layer_factors(network, other[columns])
            assert mine is not None and theirs is not None
            found = joined(mine, theirs)
            kernel[rows, columns] = found
            if right is None and begin > start:
                kernel[columns, rows] = found.T
    return kernel / network.output_shape[0]


def _by_jacobians(parameters: Parameters, left: torch.Tensor, right: torch.Tensor | None, budget: int) -> torch.Tensor:
    other = left if right is None else right
    kernel = parameters.theta.new_zeros(len(left), len(other))
    for rows, mine in jacobian_chunks(parameters, left, budget=budget // 2):
        flat, begin = mine.flatten(1), 0
        if right is None:
            kernel[rows, rows], begin = _contracted(flat, flat).to(kernel), rows.start + len(flat)
        if begin == len(other):
            break
        for later, theirs in jacobian_chunks(parameters, other[begin:], budget=budget // 2):
            columns = slice(begin + later.start, begin + later.start + len(theirs))
            kernel[rows, columns] = _contracted(flat, theirs.flatten(1)).to(kernel)
            if right is None:
                kernel[columns, rows] = kernel[rows, columns].T
    return kernel


def _contracted(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """left right^T in float64, from pieces: one sum over millions of float32 products loses four digits."""
    total = torch.zeros(len(left), len(right), dtype=torch.float64, device=left.device)
    for start in range(0, left.shape[1], _PIECE):
        part = slice(start, start + _PIECE)
        total += (left[:, part] @ right[:, part].T).double()
    return total


def _by_products(parameters: Parameters, left: torch.Tensor, right: torch.Tensor | None, budget: int) -> torch.Tensor:
    chunk_size(6 * parameters.theta.nbytes, budget // 2)
    other = parameters.network.place(left if right is None else right)
    kernel = parameters.theta.new_zeros(len(left), len(other))
    count = parameters.network.output_shape[0]
    with derivatives():
        for column in range(len(other)):
            row = other[column : column + 1]
            out, back = vjp(lambda theta: parameters.outputs(theta, row), parameters.theta)  # noqa: B023  # pyright: ignore[reportAssignmentType]
            for output in range(count):
                weight = torch.zeros_like(out)
                weight[0, output] = 1.0
                (tangent,) = back(weight)
                kernel[:, column] += _along(parameters, left, tangent, budget)[:, output]
            parameters.network.passes.count(1, backward=count)
    return kernel


def _along(parameters: Parameters, inputs: torch.Tensor, tangent: torch.Tensor, budget: int) -> torch.Tensor:
    """df(x; theta) along `tangent`, (n, c)."""
    found = []
    for _, part in parameters.rows(inputs, budget, passes=2, forward=2):
        found.append(parameter_tangents(parameters, part, tangent[None])[0].detach())
    return torch.cat(found)
