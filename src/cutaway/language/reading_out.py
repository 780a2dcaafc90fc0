"""How a transformer's residual stream becomes logits: the last normalisation and the unembedding, and what goes through
them directly: each head's own share of a logit, and the logits of every earlier layer (logit lens).

    logits = U norm(r) + b, of one token, or meaned over tokens

With the normalisation's scale held as it is on the sample (frozen), norm is linear, and the logit of a class is a sum
of what every head, MLP and embedding wrote: direct attribution (Elhage et al. 2021). The logit lens (nostalgebraist
2020) puts an earlier residual stream through the same tail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cutaway.errors import ModelError
from cutaway.language.heads import HeadLayer, is_dense, read_matrix
from cutaway.network.preserve import preserved


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tail:
    """`norm`, `unembed`: paths; `rows` (C, D): the unembedding; `tokens`: which tokens the logits read: "every" (one
    logit row a token), "mean", "first" or "last"."""

    norm: str
    unembed: str
    rows: Tensor
    tokens: str

    def pooled(self, values: Tensor) -> Tensor:
        """(n, T, ...) at the tokens that are read: (n, ...), as it is for "every". Exact. Source: definition."""
        if self.tokens == "every":
            return values
        return values.mean(dim=1) if self.tokens == "mean" else values[:, 0 if self.tokens == "first" else -1]

    def logits(self, model: nn.Module, stream: Tensor) -> Tensor:
        """Logits (n, C), or (n, T, C), of a residual stream (n, T, D): the lens. Exact for the last stream.

        Cost: one product with the unembedding. Source: nostalgebraist 2020 (logit lens).
        """
        normed = model.get_submodule(self.norm)(stream)
        return model.get_submodule(self.unembed)(self.pooled(normed))

    def frozen(self, model: nn.Module, stream: Tensor, written: Tensor) -> Tensor:
        """What `written` (n, T, D) adds to the normalised stream, the scale held as it is on `stream` (n, T, D); pooled
        over tokens. Linear in `written`. Exact for LayerNorm and RMSNorm. Source: Elhage et al. 2021 (direct
        attribution)."""
        norm = model.get_submodule(self.norm)
        gain = norm._parameters["weight"]
        centre = isinstance(norm, nn.LayerNorm)
        eps = getattr(norm, "eps", None) or getattr(norm, "variance_epsilon", 0.0)
        middle = stream.mean(dim=-1, keepdim=True) if centre else 0.0
        size = ((stream - middle).square().mean(dim=-1, keepdim=True) + eps).sqrt()
        moved = written - written.mean(dim=-1, keepdim=True) if centre else written
        return self.pooled(moved / size * (1.0 if gain is None else gain))


def find_tail(model: nn.Module, run: Callable[[], Tensor], layers: tuple[HeadLayer, ...]) -> Tail:
    """The tail of a transformer, from one run of `run` (the model on an example, its logits).

    Checked: the last stream through the tail gives the model's own logits. Raises ModelError where the last dense
    module is not behind a LayerNorm or RMSNorm over the last dimension, or where the check fails. Exact on what was
    run. Cost: that run. Source: ours.
    """
    ran: list[tuple[str, Tensor, Tensor]] = []

    def note(path: str):
        def hook(_module, args, output) -> None:
            if args and isinstance(args[0], Tensor) and isinstance(output, Tensor):
                ran.append((path, args[0].detach(), output.detach()))

        return hook

    names = [p for p, m in model.named_modules() if _normalises(m) or is_dense(m)]
    handles = [model.get_submodule(p).register_forward_hook(note(p)) for p in names]
    try:
        with preserved(model), torch.no_grad():
            logits = run()
    finally:
        for handle in handles:
            handle.remove()
    dense = [r for r in ran if not _normalises(model.get_submodule(r[0])) and r[2].shape == logits.shape]
    norms = [r for r in ran if _normalises(model.get_submodule(r[0])) and r[1].ndim == 3]
    rows = read_matrix(model, dense[-1][0]) if dense else None
    if rows is not None and norms and rows.shape[1] == norms[-1][1].shape[-1]:
        for tokens in ("every",) if logits.ndim == 3 else ("mean", "first", "last"):
            tail = Tail(norm=norms[-1][0], unembed=dense[-1][0], rows=rows, tokens=tokens)
            if _agrees(tail, model, norms[-1][1], logits):
                return tail
    raise ModelError(
        f"model {type(model).__name__}",
        found="logits that are not a dense module of a normalised residual stream",
        expected="LayerNorm or RMSNorm, then one dense module, of one token or meaned over them",
        remedy="ask this of a transformer whose logits come straight from its residual stream",
    )


def _normalises(module: nn.Module) -> bool:
    name = type(module).__name__.lower()
    return "norm" in name and "batch" not in name and module._parameters.get("weight") is not None


@torch.no_grad()
def _agrees(tail: Tail, model: nn.Module, stream: Tensor, logits: Tensor) -> bool:
    with preserved(model):
        again = tail.logits(model, stream)
        norm = model.get_submodule(tail.norm)
        shift = norm._parameters.get("bias")
        linear = tail.frozen(model, stream, stream) @ tail.rows.T
        if shift is not None:
            linear = linear + tail.rows @ shift
        bias = model.get_submodule(tail.unembed)._parameters.get("bias")
        linear = linear if bias is None else linear + bias
    close = 1e-3 * float(logits.abs().max()) + 1e-6
    return again.shape == logits.shape and all(float((x - logits).abs().max()) <= close for x in (again, linear))
