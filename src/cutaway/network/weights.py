"""Weights from a file into a model: every key and shape must match, every value must be finite.

`.safetensors` files hold tensors only. `.pt`, `.pth`, `.bin` and `.ckpt` are read with weights_only=True, which
builds tensors and plain containers and runs nothing else; a dictionary under "state_dict" or "model_state_dict"
inside is taken.
"""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from cutaway.errors import CutawayError, FileError, ModelError, nearest_name
from cutaway.files import check_zip

NESTED = ("state_dict", "model_state_dict", "model")


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Put the tensors of `path` into `model`, in place. Raises FileError (unreadable), ModelError (which key does not
    fit, how)."""
    state = read_weights(path)
    wanted = model.state_dict()
    if (
        state
        and all(key.startswith("module.") for key in state)
        and not any(key.startswith("module.") for key in wanted)
    ):
        state = {key.removeprefix("module."): value for key, value in state.items()}  # written by DataParallel
    for key, other in _tied(wanted):
        if key not in state and other in state:
            state[key] = state[other]
    _check_keys(path, state, wanted)
    for key in wanted:
        value = state[key]
        if tuple(value.shape) != tuple(wanted[key].shape):
            raise ModelError(
                f"weight {key!r} of {path}",
                found=f"shape {tuple(value.shape)}",
                expected=f"{tuple(wanted[key].shape)} as in the model",
                remedy="build the model with the sizes that these weights were trained with",
            )
    model.load_state_dict(state, strict=False)


def _tied(state: dict[str, Tensor]) -> list[tuple[str, str]]:
    """Pairs of keys that are one tensor, both ways: a file may hold tied weights once, under either name."""
    groups: dict[tuple, list[str]] = {}
    for key, value in state.items():
        if value.numel():
            groups.setdefault((value.device, value.data_ptr(), value.shape, value.stride()), []).append(key)
    return [(a, b) for same in groups.values() for a in same for b in same if a != b]


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a weights file by key, on the CPU. Raises FileError."""
    path = Path(path)
    if not path.is_file():
        raise FileError(f"weights file {path}", found="no such file", remedy="check the path")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if zipfile.is_zipfile(path):  # torch packs nothing
            check_zip(path, f"weights file {path}", kind="weights file", largest=2 * path.stat().st_size)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except CutawayError:
        raise
    except pickle.UnpicklingError as error:
        raise FileError(
            f"weights file {path}",
            found="a pickle with more than tensors in it",
            expected="plain tensors (read with weights_only=True)",
            remedy="save model.state_dict() with safetensors",
        ) from error
    except Exception as error:  # safetensors raises its own class of error, torch.load many
        if not isinstance(error, (RuntimeError, OSError, EOFError, ValueError, zipfile.BadZipFile)) and (
            type(error).__module__.split(".")[0] not in ("safetensors", "safetensors_rust", "builtins")
        ):
            raise
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise FileError(
            f"weights file {path}",
            found=f"not a complete file ({reason})",
            expected="a readable .safetensors file",
            remedy="it may be truncated: copy or download it again",
        ) from error
    for key in NESTED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise FileError(
            f"weights file {path}",
            found=f"a {type(content).__name__}",
            expected="tensors by name",
            remedy="save the state_dict of the model",
        )
    return dict(content)


def check_finite(model: nn.Module, name: str = "model") -> None:
    """Raises ModelError that names the first parameter or buffer with a NaN or infinite value."""
    for kind, tensors in (("parameter", model.named_parameters()), ("buffer", model.named_buffers())):
        for key, tensor in tensors:
            if tensor.is_meta or is_lazy(tensor) or not tensor.is_floating_point():
                continue  # without numbers; a lazy layer is refused by name when the network is looked at
            if kind == "buffer" and _is_mask(tensor):
                continue
            finite = torch.isfinite(tensor)
            if not bool(finite.all()):
                bad = int((~finite).sum())
                what = "NaN" if bool(torch.isnan(tensor).any()) else "infinite values"
                raise ModelError(
                    f"{kind} {key!r} of {name}",
                    found=f"{what} in {bad} of {tensor.numel()} numbers",
                    expected="finite weights",
                    remedy="the training has diverged or the file is damaged: take an earlier checkpoint",
                )


def _is_mask(tensor: Tensor) -> bool:
    """Attention masks are buffers of 0 and -inf, on purpose."""
    return bool(((tensor == 0) | (tensor == -torch.inf)).all())


def _check_keys(path: Any, state: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    missing = [key for key in wanted if key not in state]
    unexpected = [key for key in state if key not in wanted]
    if not missing and not unexpected:
        return
    found = []
    if missing:
        found.append(f"no {_listed(missing)}")
    if unexpected:
        found.append(f"unexpected {_listed(unexpected)}")
    near = nearest_name(missing[0], unexpected) if missing else None
    raise ModelError(
        f"weights file {path}",
        found=" and ".join(found),
        expected=f"the {len(wanted)} keys of the model",
        remedy=f"is {near!r} meant as {missing[0]!r}?" if near else "check that factory and weights belong together",
    )


def _listed(keys: list[str], most: int = 4) -> str:
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(repr(key) for key in keys[:most]) + more


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over the architecture and every parameter and buffer (name, type, shape, bytes), in hexadecimal."""
    digest = hashlib.sha256(repr(model).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):
            continue
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(raw.numpy().tobytes())
    return digest.hexdigest()
