"""Derivatives of a network by its parameters, taken as one flat vector theta of length P.

`Parameters(network)` is the map (theta, x) -> f(x; theta) with everything else (buffers, evaluation mode) held fast. On
it stand the Jacobian df_c(x_i)/dtheta, gradients of a loss row by row, and products of vectors with the Hessian H of
the mean loss and with its Gauss-Newton part G = (1/n) sum_i J_i^T A_i J_i, A_i the loss's own Hessian by the outputs
(Schraudolph 2002). All are exact up to rounding. At a kink of a ReLU they are torch's derivative there, and H is the
Hessian almost everywhere: what curvature sits *in* the kinks is missing.

torch.func does the work; what it cannot map over (a kernel without forward-mode derivative, control flow that looks at
values) goes row by row or by double backward, with the same values. Work is cut to the memory budget in rows and in
vectors. Second-order work on saturated losses wants `double=True`: in float32 a tiny curvature is rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch.func import functional_call, grad, jacrev, jvp, vjp, vmap

from cutaway.engines.budget import chunk_size
from cutaway.errors import InputError
from cutaway.network.gradient import derivatives, differentiable_forward
from cutaway.network.network import DEFAULT_BUDGET, Network
from cutaway.network.outputs import first_tensor

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
_UNMAPPED = (RuntimeError, NotImplementedError)


def cross_entropy(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """-log softmax(outputs)[label] row by row: outputs (n, c), labels (n,) whole numbers, gives (n,). A single output
    is the logit of class 1 against class 0."""
    if outputs.shape[1] == 1:
        return torch.nn.functional.softplus((1 - 2 * labels.to(outputs.dtype)) * outputs[:, 0])
    return torch.nn.functional.cross_entropy(outputs, labels, reduction="none")


def squared_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """|outputs - targets|^2 / 2 row by row: both (n, c), gives (n,)."""
    return 0.5 * (outputs - targets).flatten(1).square().sum(dim=1)


class Parameters:
    """The map (theta, x) -> f(x; theta) of a network with outputs (n, c).

    `theta` (P,): the parameters now, one after another as `named_parameters` gives them, shared ones once. `only`:
    take these names alone, the others stay fixed. `double`: work in float64, on a copy where the model is not.
    Raises `InputError` for a network without parameters, an unknown name, or outputs that are no (n, c). The model is
    not changed: each call puts theta in its place for that call alone.
    """

    def __init__(self, network: Network, *, only: tuple[str, ...] = (), double: bool = False) -> None:
        self.check(network)
        self.network = network.double() if double else network
        named = {n: p.detach() for n, p in self.network.model.named_parameters()}
        unknown = [name for name in only if name not in named]
        if unknown or not named:
            raise InputError(
                f"parameters of network {network.name!r}",
                found=f"no parameter {unknown[0]!r}" if unknown else "none",
                expected="one of " + ", ".join(list(named)[:8]) if named else "at least one",
                remedy="list them with model.named_parameters()",
            )
        kept = only or tuple(named)
        self.shapes = {name: named[name].shape for name in kept}
        self._fixed = {n: p for n, p in named.items() if n not in self.shapes}
        self._fixed |= {n: b.detach() for n, b in self.network.model.named_buffers()}
        with derivatives():
            self.theta = torch.cat([named[name].reshape(-1) for name in kept])

    @staticmethod
    def check(network: Network) -> None:
        """Raise `InputError` unless the outputs are one row of numbers a row of inputs."""
        if network.example is not None and len(network.output_shape) != 1:
            raise InputError(
                f"network {network.name!r}",
                found=f"outputs of shape (n, {', '.join(map(str, network.output_shape))})",
                expected="(n, outputs)",
                remedy="wrap the model so that it returns one row of outputs for each row of inputs",
            )

    def __len__(self) -> int:
        return len(self.theta)

    def at(self, theta: torch.Tensor) -> Parameters:
        """The same map with `theta` (P,) in the place of the parameters now."""
        other = copy.copy(self)
        other.theta = theta.detach().to(self.theta)
        return other

    def split(self, theta: torch.Tensor) -> dict[str, torch.Tensor]:
        """theta (P,) as named tensors, views of it."""
        parts = theta.split([shape.numel() for shape in self.shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def outputs(self, theta: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """f(inputs; theta), (n, c); differentiable in both."""
        return first_tensor(functional_call(self.network.model, {**self._fixed, **self.split(theta)}, (inputs,)))

    def rows(
        self,
        inputs: torch.Tensor,
        budget: int | None,
        *,
        numbers: int = 0,
        passes: int = 1,
        forward: int = 1,
        backward: int = 0,
    ) -> Iterator[tuple[slice, torch.Tensor]]:
        """`inputs` in chunks such that `numbers` a row, and the activations of `passes` passes, fit the budget; each
        row counts as `forward` and `backward` passes."""
        size = min(chunk_size(self.row_bytes(inputs, numbers, passes), _half(budget)), max(1, len(inputs)))
        for start in range(0, len(inputs), size):
            part = slice(start, start + size)
            placed = self.network.place(inputs[part])
            self.network.passes.count(forward * len(placed), backward=backward * len(placed))
            yield part, placed

    def row_bytes(self, inputs: torch.Tensor, numbers: int, passes: int) -> int:
        """What one row needs: an estimate from the widths of the sites, each held about four times."""
        widths = sum(site.width for site in self.network.sites) if self.network.example is not None else 0
        activations = 4 * (inputs[:1].numel() + 2 * widths)
        return self.theta.element_size() * (numbers + passes * activations)


def jacobian_chunks(
    parameters: Parameters, inputs: torch.Tensor, *, budget: int | None = None
) -> Iterator[tuple[slice, torch.Tensor]]:
    """(rows, J) with J (rows, c, P) = df_c(x_i; theta)/dtheta, chunk by chunk, so that n c P numbers need never stand
    at once. Exact. Cost: one forward and c backward passes a row. Raises `BudgetError` where one row does not fit."""

    def one(theta: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        return parameters.outputs(theta, row[None])[0]

    outputs = parameters.network.output_shape[0]
    for rows, part in parameters.rows(
        inputs, budget, numbers=2 * outputs * len(parameters), passes=outputs, backward=outputs
    ):
        with derivatives():
            value = _mapped(jacrev(one), parameters.theta, part)
        yield rows, value


def jacobian(parameters: Parameters, inputs: torch.Tensor, *, budget: int | None = None) -> torch.Tensor:
    """J (n, c, P) of all rows; the result itself is not bounded by the budget. See `jacobian_chunks`."""
    return torch.cat([part for _, part in jacobian_chunks(parameters, inputs, budget=budget)])


@derivatives()
def sample_gradients(
    parameters: Parameters,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    *,
    loss: Loss = cross_entropy,
    budget: int | None = None,
) -> torch.Tensor:
    """d loss_i / dtheta row by row, (n, P). Exact. Cost: one forward and one backward pass a row."""

    def one(theta: torch.Tensor, row: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return loss(parameters.outputs(theta, row[None]), label[None])[0]

    found = []
    for rows, part in parameters.rows(inputs, budget, numbers=2 * len(parameters), backward=1):
        found.append(_mapped(grad(one), parameters.theta, part, labels[rows].to(part.device)))
    return torch.cat(found)


@derivatives()
def gradient(
    parameters: Parameters,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    *,
    loss: Loss = cross_entropy,
    budget: int | None = None,
) -> torch.Tensor:
    """d/dtheta of the mean loss over the rows, (P,). Exact. Cost: one forward and one backward pass a row."""
    total = torch.zeros_like(parameters.theta)
    for rows, part in parameters.rows(inputs, budget, backward=1):
        mean = _mean_loss(parameters, part, labels[rows].to(part.device), loss, len(inputs))
        total += grad(mean)(parameters.theta)
    return total


def parameter_tangents(parameters: Parameters, inputs: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """J v, the derivative of f(x_i; theta) along each of `vectors` (k, P), for rows `inputs` (n, ...): (k, n, c).

    Exact, by forward mode; differentiable in `inputs`. Not chunked, not counted. Cost: two forward passes a row and
    vector. Raises torch's `RuntimeError` for a kernel without forward-mode derivative. Source: definition.
    """

    def along(vector: torch.Tensor) -> torch.Tensor:
        return jvp(lambda theta: parameters.outputs(theta, inputs), (parameters.theta,), (vector,))[1]

    with differentiable_forward():
        return vmap(along)(vectors) if len(vectors) > 1 else along(vectors[0])[None]


def hessian_products(
    parameters: Parameters,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    vectors: torch.Tensor,
    *,
    loss: Loss = cross_entropy,
    budget: int | None = None,
) -> torch.Tensor:
    """H v for each of `vectors` (k, P), H the Hessian of the mean loss over the rows; gives (k, P).

    Exact up to rounding. Float64 goes forward over reverse mode, several vectors at once; other types go by double
    backward, one vector after another on one graph, which there is two to three times as fast on a processor; either
    stands in where a kernel lacks the other. Cost: about four forward passes a row and vector. Raises `InputError` for
    vectors of another length, `BudgetError`.
    """
    serial = parameters.theta.dtype != torch.float64

    def product(part: torch.Tensor, label: torch.Tensor, some: torch.Tensor) -> torch.Tensor:
        mean = _mean_loss(parameters, part, label, loss, len(inputs))
        first, second = (
            (_double_backward, _forward_over_reverse) if serial else (_forward_over_reverse, _double_backward)
        )
        try:
            return first(mean, parameters.theta, some)
        except _UNMAPPED:
            return second(mean, parameters.theta, some)

    return _products(parameters, inputs, labels, vectors, product, budget, serial=serial)


def gauss_newton_products(
    parameters: Parameters,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    vectors: torch.Tensor,
    *,
    loss: Loss = cross_entropy,
    budget: int | None = None,
) -> torch.Tensor:
    """G v for each of `vectors` (k, P), G = (1/n) sum_i J_i^T A_i J_i with A_i the loss's Hessian by the outputs of row
    i; gives (k, P). For cross-entropy and squared error G is positive semi-definite and, for the former, the
    Fisher matrix. Exact up to rounding. Cost and errors as `hessian_products`."""

    def product(part: torch.Tensor, label: torch.Tensor, some: torch.Tensor) -> torch.Tensor:
        def outputs(theta: torch.Tensor) -> torch.Tensor:
            return parameters.outputs(theta, part)

        def by_outputs(out: torch.Tensor) -> torch.Tensor:
            return loss(out, label).sum() / len(inputs)

        out, back, *_ = vjp(outputs, parameters.theta)
        try:
            moved = parameter_tangents(parameters, part, some)
        except _UNMAPPED:
            moved = _tangents(outputs, parameters.theta, some)
        bent = vmap(lambda u: jvp(grad(by_outputs), (out.detach(),), (u,))[1])(moved.detach())
        return torch.stack([back(u)[0] for u in bent])

    return _products(parameters, inputs, labels, vectors, product, budget)


def _mean_loss(
    parameters: Parameters, part: torch.Tensor, label: torch.Tensor, loss: Loss, count: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda theta: loss(parameters.outputs(theta, part), label).sum() / count


@derivatives()
def _products(
    parameters: Parameters,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    vectors: torch.Tensor,
    product: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    budget: int | None,
    *,
    serial: bool = False,
) -> torch.Tensor:
    """`product` summed over chunks of rows, a few vectors at a time; `serial`: it takes one after another."""
    if vectors.dim() != 2 or vectors.shape[1] != len(parameters):
        raise InputError(
            "vectors",
            found=f"shape {tuple(vectors.shape)}",
            expected=f"(k, {len(parameters)}), one entry a parameter",
            remedy="flatten them in the order of model.named_parameters()",
        )
    vectors = vectors.to(parameters.theta, copy=True)
    one = max(6 * parameters.theta.nbytes, parameters.row_bytes(inputs, 0, 3))
    at_once = min(chunk_size(one, _half(budget)), max(1, len(vectors)))
    total = torch.zeros_like(vectors)
    for start in range(0, len(vectors), at_once):
        some = vectors[start : start + at_once]
        held, each = 6 if serial else 3 * len(some), 2 * len(some)
        for rows, part in parameters.rows(inputs, budget, passes=held, forward=each, backward=each):
            total[start : start + at_once] += product(part, labels[rows].to(part.device), some).detach()
    return total


@differentiable_forward()
def _mapped(function: Callable[..., torch.Tensor], theta: torch.Tensor, *columns: torch.Tensor) -> torch.Tensor:
    """`function(theta, row...)` for every row, by vmap, or one by one where vmap cannot."""
    try:
        return vmap(function, in_dims=(None, *(0 for _ in columns)))(theta, *columns)
    except _UNMAPPED:
        return torch.stack([function(theta, *row) for row in zip(*columns, strict=True)])


def _forward_over_reverse(
    mean: Callable[..., torch.Tensor], theta: torch.Tensor, vectors: torch.Tensor
) -> torch.Tensor:
    with differentiable_forward():
        return vmap(lambda v: jvp(grad(mean), (theta,), (v,))[1])(vectors)


@differentiable_forward()
def _double_backward(mean: Callable[..., torch.Tensor], theta: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    point = theta.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(mean(point), point, create_graph=True)
    if not slope.requires_grad:  # a loss that is affine in theta
        return torch.zeros_like(vectors)
    found = [torch.autograd.grad(slope, point, v, retain_graph=True, allow_unused=True)[0] for v in vectors]
    return torch.stack([torch.zeros_like(point) if f is None else f for f in found])


@differentiable_forward()
def _tangents(outputs: Callable[..., torch.Tensor], theta: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """J v by two backward passes: J^T u is linear in u, and its derivative along u paired with v is J v."""
    point = theta.detach().clone().requires_grad_()
    out = outputs(point)
    dual = torch.zeros_like(out, requires_grad=True)
    (pulled,) = torch.autograd.grad(out, point, dual, create_graph=True)
    return torch.stack([torch.autograd.grad(pulled, dual, v, retain_graph=True)[0] for v in vectors])


def _half(budget: int | None) -> int:
    """A pass's working memory: the other half is the allocator's and the caller's."""
    return (budget or DEFAULT_BUDGET) // 2
