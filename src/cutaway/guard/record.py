"""The form of a guard folder's contents: every field and every tensor, with its type and range."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from cutaway.errors import FileError

FORMAT = 2
REMEDY = "fit it again"
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SettingsPart(_Part):
    features: Literal["sentence", "geometry", "hidden", "both"]
    layers: Positive | None
    rate: Share
    calibration: Share
    strength: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    max_length: Positive | None
    batch_size: Positive
    seed: Count
    plain: bool = False


class ThresholdPart(_Part):
    logit: Finite
    rate: Share
    harmless: Count


class Record(_Part):
    """`guard.json`. `version` is the Cutaway that wrote it; format 1 (0.1.0) has no `version` and no `seal`."""

    format: Literal[1, 2]
    version: str = "0.1.0"
    model: str
    model_hash: str
    detector_hash: str
    head: Literal["logistic", "mlp"]
    settings: SettingsPart
    threshold: ThresholdPart
    train_rows: Count
    calibration_rows: Count
    notes: list[str]
    seen: list[str]
    seal: str = ""
    hmac: str = ""


def checked_record(content: dict[str, Any], offender: str) -> Record:
    """Raises `FileError` with the first field that is wrong."""
    try:
        return Record.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise FileError(
            offender,
            found=f"{place}: {str(first['input'])[:80]!r}",
            expected=first["msg"].removeprefix("Input should be "),
            remedy=REMEDY,
        ) from error


def check_tensors(tensors: dict[str, Tensor], offender: str) -> None:
    """Raises `FileError` unless they are a detector's: finite float64, layers and rows that fit."""
    count = max(1, sum(name.startswith("weight.") for name in tensors))
    wanted = {"mean", "scale", "train_harmful", "held_harmful"}
    wanted |= {f"{kind}.{i}" for kind in ("weight", "bias") for i in range(count)}
    if odd := sorted(wanted ^ set(tensors)):
        word = "no" if odd[0] in wanted else "an unknown"
        raise FileError(offender, found=f"{word} tensor {odd[0]!r}", expected=", ".join(sorted(wanted)), remedy=REMEDY)
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float64 or not bool(torch.isfinite(tensor).all()):
            raise FileError(f"{offender}, {name!r}", found=f"{tensor.dtype}", expected="finite float64", remedy=REMEDY)
    for name, shape in _shapes(tensors, count).items():
        found = tuple(tensors[name].shape)
        if len(found) != len(shape) or any(w not in (-1, f) for w, f in zip(shape, found)):
            raise FileError(f"{offender}, {name!r}", found=f"shape {found}", expected=f"{shape}", remedy=REMEDY)


def _shapes(tensors: dict[str, Tensor], count: int) -> dict[str, tuple[int, ...]]:
    """-1 for any size. The last layer has one output; a file without layers wants the first."""
    width = tensors["mean"].numel()
    found = {"mean": (width,), "scale": (width,), "train_harmful": (-1, width), "held_harmful": (-1, width)}
    for i in range(count):
        size = 1 if i == count - 1 else len(tensors[f"weight.{i}"]) if tensors[f"weight.{i}"].ndim else -1
        found |= {f"weight.{i}": (size, width), f"bias.{i}": (size,)}
        width = size
    return found
