"""What stands beside trained weights so that they open again: a small record of how the network was built.

    cutaway scan RUN/checkpoints/step-00001000.safetensors --data mnist

A run folder holds `model.json` next to `checkpoints/`; a file that was moved elsewhere may carry the same record in its
own metadata under `cutaway.model`. Opening runs no code that a file names: only the networks of
`cutaway.training.models` are built. Networks of other factories are opened by factory and --weights, and the message
says which.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cutaway.errors import CutawayError, FileError, InputError
from cutaway.files import LARGEST_RECORD, check_size, parse_json, read_text, room
from cutaway.network.origin import note_range
from cutaway.network.weights import load_weights
from cutaway.training.characters import Alphabet
from cutaway.training.models import build_model

METADATA = "cutaway.model"
SPARE = 1 << 16
"""Numbers that a network may have beyond twice those of its weights file, which may leave tied ones and buffers out."""
FILE = "model.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """How a network was built: by `name` and `options` under `seed`, or by a user's `factory`.

    dtype: float32 or float64. normalise: (mean, std) per channel of its first step. alphabet: the characters of a
    text model. example: token rows for a text model. title: what it is called in reports. value_range: smallest and
    largest value of the inputs it was trained on.
    """

    title: str
    input_shape: tuple[int, ...]
    outputs: int
    seed: int = 0
    name: str = ""
    factory: str = ""
    dtype: str = "float32"
    options: dict[str, Any] = field(default_factory=dict)
    normalise: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    alphabet: str = ""
    example: tuple[tuple[int, ...], ...] = ()
    value_range: tuple[float, float] | None = None

    def build(self) -> nn.Module:
        """The untrained network."""
        if self.factory:
            from cutaway.network.factory import call_factory

            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(self.seed)
                model = call_factory(self.factory)[0]
        else:
            model = build_model(
                self.name, self.input_shape, self.outputs, seed=self.seed, normalise=self.normalise, **self.options
            )
        return model.to(getattr(torch, self.dtype))

    def to_json(self) -> str:
        from dataclasses import asdict

        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str, where: str) -> Blueprint:
        """Read back; `FileError` names `where` for anything else."""
        try:
            content: dict[str, Any] = parse_json(text, f"record of a network in {where}")
            pair, content["input_shape"] = content["normalise"], tuple(content["input_shape"])
            content["normalise"] = None if pair is None else (tuple(pair[0]), tuple(pair[1]))
            low_high = content.get("value_range")
            content["value_range"] = None if low_high is None else (float(low_high[0]), float(low_high[1]))
            content["example"] = tuple(tuple(row) for row in content["example"])
            return cls(**content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FileError(
                f"record of a network in {where}",
                found=f"{type(error).__name__}: {error}",
                expected="what `cutaway fit` writes",
                remedy="it may come from a newer version: update Cutaway",
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opened:
    """A trained network with its name, an example (token rows, else None), and its alphabet where it reads text."""

    model: nn.Module
    title: str
    example: torch.Tensor | None
    alphabet: Alphabet | None


def open_checkpoint(path: str | Path, *, trust_code: bool = False) -> Opened | None:
    """The network of a checkpoint that `cutaway fit` wrote, or None where nothing says how it was built.

    trust_code: call the factory that the record names, if it names one. Without it, raises `InputError` for the network
    of a user's factory (it says what to call instead); `FileError` and
    `ModelError` for damaged files and weights that do not fit.
    """
    path = Path(path)
    found = blueprint_of(path)
    if found is None:
        return None
    if found.factory and not trust_code:
        raise InputError(
            f"checkpoint {str(path)!r}",
            found=f"weights of the factory {found.factory}",
            expected="the factory and its weights",
            remedy=f"give {found.factory} --weights {path}, or --trust-code if you trust the run to name its factory",
        )
    model = _built(found, path)
    load_weights(model, path)
    note_range(model, found.value_range)
    example = torch.tensor(found.example, dtype=torch.int64) if found.example else None
    return Opened(
        model=model.eval(),
        title=f"{found.title} {path.stem.replace('-', ' ')}",
        example=example,
        alphabet=Alphabet(characters=found.alphabet) if found.alphabet else None,
    )


def _built(found: Blueprint, path: Path) -> nn.Module:
    if found.factory:
        return found.build()
    try:
        _check_sizes(found, path)
        return found.build()
    except CutawayError:
        raise
    except Exception as error:  # whatever wrong sizes and options come to
        raise FileError(
            f"record of a network beside {path}",
            found=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}",
            expected="a network that cutaway fit builds",
            remedy="save the network again with this version of Cutaway",
        ) from error


def _check_sizes(found: Blueprint, path: Path) -> None:
    """Before any memory is taken: the network that the record asks for is about as large as the weights beside it, and
    fits the budget."""
    with _opened(path) as file:
        shapes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118 (it is no dictionary)
    where, held = f"record of a network beside {path}", sum(math.prod(shape) for shape in shapes)
    depth = found.options.get("depth", 0)
    if isinstance(depth, int) and depth > max(len(shapes), 1):
        raise _of_other_weights(where, f"depth {depth:,}", f"at most {len(shapes)}, the tensors of its weights")
    with torch.device("meta"):
        state = found.build().state_dict().values()
    if (wanted := sum(value.numel() for value in state)) > 2 * held + SPARE:
        raise _of_other_weights(where, f"a network of {wanted:,} numbers", f"the {held:,} of its weights")
    check_size(where, sum(value.numel() * value.element_size() for value in state), room())


def _of_other_weights(where: str, told: str, expected: str) -> FileError:
    remedy = "take the model.json that was written beside these weights"
    return FileError(where, found=told, expected=expected, remedy=remedy)


def blueprint_of(path: Path) -> Blueprint | None:
    """From the file's own metadata, else from `model.json` in the run folder round it."""
    with _opened(path) as file:
        own = (file.metadata() or {}).get(METADATA)
    if own is not None:
        return Blueprint.from_json(own, str(path))
    for folder in (path.parent, path.parent.parent):
        if (folder / FILE).is_file():
            return Blueprint.from_json(read_text(folder / FILE, largest=LARGEST_RECORD), str(folder / FILE))
    return None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The header of a .safetensors file, whose tensors are read when they are asked for."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise FileError(
            f"weights file {path}",
            found=f"not a complete file ({error})",
            expected="a readable .safetensors file",
            remedy="it may be truncated: copy it again, or take an earlier checkpoint",
        ) from error
