"""The vector that a classifier's head really reads, and proof that it is that one.

A certificate of a head is about its input z. Guessing z from hidden states is how published figures came to describe
another function (a dense and tanh pooler stands between BERT's last hidden state and its classifier; under left padding
the "last token" of a decoder is a wrong one). Here z is taken by a forward pre-hook on the head itself, and
head(z) = logits is checked on every batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cutaway.errors import ModelError
from cutaway.language.forward import run_model
from cutaway.network.outputs import first_tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadInputs:
    """`path` of the head, its inputs z (n, d) and the model's logits (n, c); head(z) = logits was checked."""

    path: str
    z: Tensor
    logits: Tensor


@torch.no_grad()
def head_inputs(model: nn.Module, tokens: Tensor, mask: Tensor | None = None, *, path: str | None = None) -> HeadInputs:
    """z of a sequence classifier (Hugging Face or plain) for right-padded tokens (n, T).

    Without `path`, the head is the last module to run that maps z to the logits: the longest tail of a chain is not
    searched, so a multi-layer head needs its path. Raises ModelError when no module, or not the one named, is called
    on a tensor that gives the logits.
    """
    seen: dict[str, Tensor] = {}
    handles = []
    if path is not None and path not in dict(model.named_modules()):
        raise ModelError(
            f"head {path!r}",
            found="no such module",
            expected="a dotted path of the model's modules",
            remedy="give one of the names that model.named_modules() lists",
        )
    for name, module in model.named_modules():
        if (path is None and isinstance(module, nn.Linear)) or (path is not None and name == path):
            handles.append(module.register_forward_pre_hook(_keeper(seen, name), with_kwargs=True))
    try:
        logits = first_tensor(run_model(model, tokens, mask))
    finally:
        for handle in handles:
            handle.remove()
    last = (torch.full((len(tokens),), tokens.shape[1]) if mask is None else mask.sum(1)).long() - 1
    for name in reversed(list(seen)):
        z = seen[name]
        if z.ndim == 3:
            z = z[torch.arange(len(z)), last]
        given = model.get_submodule(name)(z)
        if given.shape == logits.shape and torch.allclose(given, logits, rtol=1e-4, atol=1e-5):
            return HeadInputs(path=name, z=z, logits=logits)
    found = "a head whose output is not the logits" if seen else "no head whose input can be hooked"
    raise ModelError(
        f"model {type(model).__name__}" + (f", head {path!r}" if path else ""),
        found=found,
        expected="a module with head(z) = logits",
        remedy="name the head's path, or use a model that calls it as a module",
    )


def _keeper(seen: dict[str, Tensor], name: str):
    def hook(_module, args, kwargs):
        value = args[0] if args else next(iter(kwargs.values()), None)
        if isinstance(value, Tensor):
            seen.pop(name, None)
            seen[name] = value

    return hook
