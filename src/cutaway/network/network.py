"""`Network`: a view on any `torch.nn.Module` that reads it and leaves it as it was.

It lists sites, streams what happens there, gives the affine map that holds at a point, makes untrained twins, and
answers for the assumptions that the instruments rest on (evaluation mode, determinism, rows independent), each
probed once by default.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn

from cutaway import _late
from cutaway._compat import own_device
from cutaway.engines.budget import give_back_memory
from cutaway.errors import InputError
from cutaway.network import twin as twins
from cutaway.network.affine import AffineMap, checked_map
from cutaway.network.capture import DEFAULT_BUDGET, Chunk, bytes_per_sample, chunks, in_one, record
from cutaway.network.describing import described_network
from cutaway.network.discovery import Found, discover
from cutaway.network.flops import forward_flops
from cutaway.network.gradient import derivatives, mha_fastpath_off
from cutaway.network.misfit import misfit
from cutaway.network.outputs import first_tensor
from cutaway.network.packed import refuse_packed
from cutaway.network.passes import Passes
from cutaway.network.preserve import alone, preserved
from cutaway.network.probe import probed
from cutaway.network.refusals import refuse_curved, refuse_training_mode, refuse_unreadable
from cutaway.network.sites import Site
from cutaway.network.weights import check_finite, fingerprint
from cutaway.records import Skipped

FAST_CHUNK = 64 * 1024**2  # larger chunks are slower: their buffers are mapped and cleared anew on every pass


class Network:
    """A view on `model`.

    Parameters
    ----------
    model : any `nn.Module` in evaluation mode (BatchNorm or Dropout in training mode is refused).
    example : inputs `(n, ...)`, at least one row; needed for everything that depends on shapes. Floating point, or
    token ids (int64). name : what to call it in reports.
    probe : check once that the model is deterministic and that the rows of a batch do not influence each other.
    random : let a model pass that answers at random (two passes differ): `draws` is then True, and instruments that
    take one function of the input refuse it.

    The model's output is taken to be its first tensor (or the field `logits`, `last_hidden_state`), `(n, outputs)`
    for classifiers.

    Raises `ModelError` for NaN or infinite parameters, training mode, modules that are no function of one input
    (`refusals`), a failed probe, or an example that does not fit.
    Raises `InputError` for an example without rows.
    """

    def __init__(
        self,
        model: nn.Module,
        example: torch.Tensor | None = None,
        *,
        name: str = "",
        probe: bool = True,
        random: bool = False,
    ) -> None:
        self.model, self.name, self._probe = model, name or type(model).__name__, probe
        self.may_draw, self.draws = random, False
        self.passes = Passes()
        self.twin_skipped: tuple[Skipped, ...] = ()
        refuse_unreadable(model)
        refuse_packed(model)
        refuse_training_mode(model)
        check_finite(model, f"network {self.name!r}")
        self.example: torch.Tensor | None = None
        if example is not None:
            if len(example) == 0:
                raise InputError(
                    "the example input",
                    found="no rows",
                    expected="at least one row",
                    remedy="give an example of one row or more",
                )
            with own_device(model), alone(), derivatives():
                self.example = self.place(example[:2]).detach().clone()
                _ = self._discovered

    @property
    def forward_passes(self) -> int:
        return self.passes.forward

    @property
    def backward_passes(self) -> int:
        return self.passes.backward

    @property
    def device(self) -> torch.device:
        first = next(iter([*self.model.parameters(), *self.model.buffers()]), None)
        return first.device if first is not None else torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """Type of the first floating-point parameter (float32 for a model without parameters)."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        return next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)

    @property
    def num_parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    def with_example(self, example: torch.Tensor) -> Network:
        """This network with an example input (itself, if it has one already)."""
        has = self.example is not None
        return self if has else Network(self.model, example, name=self.name, probe=self._probe, random=self.may_draw)

    def place(self, inputs: torch.Tensor) -> torch.Tensor:
        """`inputs` on the network's device, floating point in its dtype, token ids as they are.

        Any shape (n, ...), which stays.
        """
        return inputs.to(self.device, self.dtype) if inputs.is_floating_point() else inputs.to(self.device)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The model's output tensor; gradients flow if they are enabled. Counts one forward pass a row."""
        self.passes.count(len(inputs))
        give_back_memory()
        return first_tensor(self.model(inputs))

    @cached_property
    def _discovered(self) -> Found:
        if self.example is None:
            raise InputError(
                f"network {self.name!r}",
                found="no example input",
                expected="one",
                remedy="call Network(model, example)",
            )
        example = self.example
        with derivatives(), preserved(self.model), mha_fastpath_off():
            inputs = example.clone()
            try:
                found = discover(self.model, lambda: self.forward(inputs), inputs)
            except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
                raise misfit(self.model, self.name, example, error) from error
            if self._probe:
                found = dataclasses.replace(found, sites=probed(self, found.output, found.sites))
        return dataclasses.replace(found, output=tuple(found.output.shape[1:]))

    @cached_property
    def flops(self) -> float:
        """Floating-point operations of one row's forward pass, infinite where they cannot be counted."""
        return float("inf") if self.example is None else forward_flops(self.model, self.example)

    @property
    def sites(self) -> tuple[Site, ...]:
        """Every call of every nonlinearity and pooling, in order."""
        return self._discovered.sites

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What could not be read, with the reason."""
        return self._discovered.skipped

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self._discovered.output

    def select(self, *families: str) -> tuple[Site, ...]:
        """The sites of the given families (`activation`, `pooling`, `attention`, `normalisation`, `product`,
        `other`).
        """
        return tuple(site for site in self.sites if site.family in families)

    @property
    def piecewise_affine(self) -> bool:
        """Whether every operation that depends on the input is known to be piecewise affine, so that the whole is."""
        return self._discovered.piecewise_affine

    @property
    def continuous(self) -> bool:
        """Whether no operation is known to jump, nor may (a mask of something else, rounding, a branch)."""
        return self._discovered.continuous

    def require_piecewise_affine(self) -> None:
        """Raise `NotPiecewiseAffine` naming the first operation that is not, or of which nothing is known."""
        refuse_curved(self.name, self.sites, self._discovered.hidden)

    def chunk_size(
        self,
        inputs: torch.Tensor,
        sites: Sequence[Site],
        budget: int | None,
        *,
        pre: bool = True,
        post: bool = True,
        factor: float = 1,
        fast: bool = True,
    ) -> int:
        """Rows per chunk so that captured values, working buffers and what a consumer makes of them (`factor`) fit
        in `budget` bytes. `fast`: no more than goes through quickly; without it as many as fit.

        `inputs` (n, ...).
        """
        per_sample = self.row_bytes(inputs, sites, pre=pre, post=post) * factor
        half = (budget or DEFAULT_BUDGET) // 2
        bounded = min(half, FAST_CHUNK) if fast else half
        return max(1, min(len(inputs), int(bounded // per_sample), 1024))

    def row_bytes(self, inputs: torch.Tensor, sites: Sequence[Site], *, pre: bool = True, post: bool = True) -> int:
        """Bytes of one row of `inputs` (n, ...) while the values of `sites` before (`pre`) and after (`post`) are
        kept."""
        element = torch.finfo(self.dtype).bits // 8
        peak = max([s.width for s in self.sites] + [math.prod(self.output_shape), self._discovered.widest])
        return bytes_per_sample(inputs, sites, element, pre=pre, post=post, peak=peak)

    def stream(
        self,
        inputs: torch.Tensor,
        sites: Sequence[Site] | None = None,
        *,
        pre: bool = True,
        post: bool = False,
        budget: int | None = None,
        batch_size: int | None = None,
    ) -> Iterator[Chunk]:
        """Pass over `inputs` in chunks that fit `budget` bytes, with the values at `sites` (all by default) before
        and after.

        `inputs` (n, ...); the values of a chunk have shapes (rows, *site shape).
        """
        sites = self.sites if sites is None else sites
        size = batch_size or self.chunk_size(inputs, sites, budget, pre=pre, post=post)
        for rows in chunks(len(inputs), size):
            part = self.place(inputs[rows])
            with mha_fastpath_off():
                output, before, after = record(self.forward, part, sites, pre=pre, post=post)
            yield Chunk(rows=rows, inputs=part, output=output, pre=before, post=after)

    def capture(
        self,
        inputs: torch.Tensor,
        sites: Sequence[Site] | None = None,
        *,
        pre: bool = True,
        post: bool = True,
        budget: int | None = None,
        batch_size: int | None = None,
    ) -> Chunk:
        """All of `stream` joined into one `Chunk`; the result itself is not bounded by the budget, only the work is.

        `inputs` (n, ...); values (n, *site shape).
        """
        parts = list(self.stream(inputs, sites, pre=pre, post=post, budget=budget, batch_size=batch_size))
        return in_one(parts)

    def outputs(
        self, inputs: torch.Tensor, *, budget: int | None = None, batch_size: int | None = None
    ) -> torch.Tensor:
        """The network's outputs on all `inputs`, chunked, without gradients.

        `inputs` (n, ...), outputs (n, *output shape). Cost: one forward pass a row.
        """
        return torch.cat([c.output for c in self.stream(inputs, (), pre=False, budget=budget, batch_size=batch_size)])

    def affine_at(self, point: torch.Tensor) -> AffineMap:
        """The exact affine map that holds in the region of `point` (one input without batch dimension), in float64.

        Raises `NotPiecewiseAffine` for a network that is none or is not known to be one, and ModelError where torch's
        derivative is not the network's (`checked_map`). Cost: 65 forward passes and one backward pass per output.
        `point` has shape (*input shape,).
        """
        self.require_piecewise_affine()
        with derivatives():
            wide = self.double()
            return checked_map(lambda x: first_tensor(wide.model(x)), point.to(self.device))

    def bounds(self, inputs: Any, radius: float | torch.Tensor | None = None, **settings: Any) -> Any:
        """Lower and upper bounds of every layer over balls `bounds(x, radius)` or boxes `bounds((low, high))`; see
        `cutaway.robustness.bounds.layers.layer_bounds`."""
        return _late.attached("Network.bounds")(self, inputs, radius, **settings)

    def __repr__(self) -> str:
        shape = "" if self.example is None else f", inputs {tuple(self.example.shape[1:])}"
        return f"Network({self.name!r}, {self.num_parameters:,} parameters{shape}, {self.dtype})"

    def double(self) -> Network:
        """This network in float64 (itself if it is already); the copy is made once and kept."""
        with alone():
            return self if self.dtype == torch.float64 else self._double

    @cached_property
    def _double(self) -> Network:
        model = copy.deepcopy(self.model).to(torch.float64)
        made = Network(model, self.example, name=self.name, probe=False)
        made.passes, made.draws = self.passes, self.draws
        return made

    def on_cpu(self) -> nn.Module:
        """The module itself where it is on the CPU, else a copy there: the caller's model is never moved."""
        return self.model if self.device.type == "cpu" else copy.deepcopy(self.model).cpu()

    def twin(self, seed: int) -> Network:
        """An untrained copy by the modules' own initialisers; `twin_skipped` lists parameters that have none."""
        return self._made(*twins.untrained(self.model, seed), name=f"{self.name} (untrained, seed {seed})")

    def spectrum_twin(self, seed: int) -> Network:
        """A copy with the same singular values in every weight and random singular vectors."""
        return self._made(*twins.matched_spectrum(self.model, seed), name=f"{self.name} (same spectra, seed {seed})")

    def mask_twin(self, seed: int) -> Network:
        """A copy with the entries of every weight in random order, zeros and masks with them."""
        return self._made(twins.moved_zeros(self.model, seed), (), name=f"{self.name} (zeros moved, seed {seed})")

    def _made(self, model: nn.Module, skipped: tuple[Skipped, ...], *, name: str) -> Network:
        made = Network(model, name=name, probe=False)
        made.example, made.twin_skipped, made.draws = self.example, skipped, self.draws
        kept = {"_discovered", "flops"} & self.__dict__.keys()  # same architecture, same sites and cost
        made.__dict__.update({name: self.__dict__[name] for name in kept})
        return made

    def fingerprint(self) -> str:
        """SHA-256 over the architecture and every parameter and buffer (name, type, shape, bytes), in hexadecimal."""
        return fingerprint(self.model)

    def describe(self) -> dict[str, Any]:
        """What the network is, for the first screen of a report."""
        return described_network(self)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_double"}
