"""Networks that have learned nothing, made from one that may have: the nulls' raw material.

`untrained` runs the modules' own initialisers, `matched_spectrum` keeps every weight matrix's singular values and
draws new singular vectors. Both return a deep copy and a list of what could not be treated as asked.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from cutaway import seeds
from cutaway._compat import fresh_transformers_model, is_transformers_model, own_initialiser
from cutaway.records import Skipped


def untrained(model: nn.Module, seed: int) -> tuple[nn.Module, tuple[Skipped, ...]]:
    """A copy of `model` initialised anew by its modules' own initialisers under `seed`; global random state is left
    alone.

    Hugging Face models are built again from their configuration. A parameter whose module has no initialiser gets
    its own entries in random order (the same values, no structure), and is listed.
    """
    twin = _copy(model)
    skipped: list[Skipped] = []
    treated: set[int] = set()
    with torch.random.fork_rng(devices=_devices(model)):
        torch.manual_seed(seeds.number(seed, "twin"))  # every device's stream
        torch.set_rng_state(seeds.generator(seed, "twin").get_state())
        for module in twin.modules():
            if is_transformers_model(module) and not all(id(p) in treated for p in module.parameters()):
                fresh = fresh_transformers_model(module)
                state = {
                    k: v.to(module.state_dict()[k]) for k, v in fresh.state_dict().items() if k in module.state_dict()
                }
                module.load_state_dict(state, strict=False)
                treated.update(id(p) for p in module.parameters())
        for path, module in twin.named_modules():
            own = [(n, p) for n, p in module.named_parameters(recurse=False) if id(p) not in treated]
            if not own:
                continue
            initialise = own_initialiser(module)
            if initialise is not None:
                initialise()
                treated.update(id(p) for p in module.parameters())
                continue
            for name, parameter in own:
                _shuffle(parameter)
                treated.add(id(parameter))
                full = f"{path}.{name}".lstrip(".")
                skipped.append(
                    Skipped(what=full, reason="no initialiser of its own: entries put in random order in the twin")
                )
    return _finished(twin, model), tuple(skipped)


def matched_spectrum(model: nn.Module, seed: int) -> tuple[nn.Module, tuple[Skipped, ...]]:
    """A copy whose weight tensors keep their singular values (as matrices out x rest) and get Haar-random singular
    vectors.

    Parameters with one dimension get their own entries in random order. Tensors with a side above 4096 are put in
    random order too, and listed.
    """
    twin = _copy(model)
    skipped: list[Skipped] = []
    generator = seeds.generator(seed, "matched spectrum")
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            flat = parameter.detach().reshape(parameter.shape[0], -1) if parameter.dim() > 1 else None
            if flat is None or min(flat.shape) < 2:
                _shuffle(parameter, generator)
            elif max(flat.shape) > 4096:
                _shuffle(parameter, generator)
                skipped.append(Skipped(what=name, reason="larger than 4096: entries put in random order in the twin"))
            else:
                values = torch.linalg.svdvals(flat.double().cpu())
                left = _orthonormal(flat.shape[0], len(values), generator)
                right = _orthonormal(flat.shape[1], len(values), generator)
                parameter.copy_(((left * values) @ right.T).reshape(parameter.shape).to(parameter))
    return _finished(twin, model), tuple(skipped)


def moved_zeros(model: nn.Module, seed: int) -> nn.Module:
    """A copy whose weights of two or more dimensions stand in random order, each among its own entries: every layer
    keeps its values and its number of zeros, at places drawn anew. Masks of `torch.nn.utils.prune` go with their
    weights."""
    twin = _copy(model)
    buffers = dict(twin.named_buffers())
    for name, parameter in twin.named_parameters():
        if parameter.dim() > 1:
            order = torch.randperm(parameter.numel(), generator=seeds.generator(seed, "moved zeros", name))
            mask = buffers.get(name.removesuffix("_orig") + "_mask")
            for tensor in (parameter, mask):
                if tensor is not None:
                    with torch.no_grad():
                        tensor.copy_(tensor.flatten()[order.to(tensor.device)].reshape(tensor.shape))
    return _finished(twin, model)


def _copy(model: nn.Module) -> nn.Module:
    gradients = [p.grad for p in model.parameters()]
    for p in model.parameters():
        p.grad = None
    try:
        return copy.deepcopy(model)
    finally:
        for p, gradient in zip(model.parameters(), gradients, strict=True):
            p.grad = gradient


def _finished(twin: nn.Module, model: nn.Module) -> nn.Module:
    for mine, theirs in zip(twin.modules(), model.modules(), strict=True):
        mine.training = theirs.training
    return twin


def _shuffle(parameter: torch.Tensor, generator: torch.Generator | None = None) -> None:
    order = torch.randperm(parameter.numel(), generator=generator)
    with torch.no_grad():
        parameter.copy_(parameter.flatten()[order.to(parameter.device)].reshape(parameter.shape))


def _orthonormal(rows: int, columns: int, generator: torch.Generator) -> torch.Tensor:
    q, r = torch.linalg.qr(torch.randn(rows, columns, generator=generator, dtype=torch.float64))
    return q * torch.sign(torch.diagonal(r))


def _devices(model: nn.Module) -> list[torch.device]:
    return sorted({p.device for p in model.parameters() if p.device.type == "cuda"}, key=str)
