"""A fitted guardrail as one folder without pickle: `guard.json` (settings, hashes) and `guard.safetensors` (numbers).

The folder names its language model and holds the sha256 of its architecture and weights and of the tokenizer's
vocabulary; loading refuses another model or tokenizer. `detector_hash` is the sha256 over the detector's numbers, the
threshold and the feature settings: certificates are bound to it and to the model's.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from cutaway.errors import FileError, InputError, ModelError
from cutaway.files import atomic_folder, read_json
from cutaway.guard.detector import from_tensors
from cutaway.guard.guardrail import Guardrail
from cutaway.guard.threshold import Threshold
from cutaway.network import Network
from cutaway.network.sources import LoadedModel, check_recorded

FORMAT = 1
_SETTINGS = ("features", "layers", "rate", "calibration", "strength", "max_length", "batch_size", "seed", "plain")


def model_hash(loaded: LoadedModel) -> str:
    """sha256 over architecture, weights and the tokenizer's vocabulary."""
    digest = hashlib.sha256(Network(loaded.model).fingerprint().encode())
    vocabulary = loaded.tokenizer.get_vocab() if loaded.tokenizer is not None else {}
    digest.update(json.dumps(sorted(vocabulary.items(), key=lambda kv: (kv[1], kv[0]))).encode())
    return digest.hexdigest()


def detector_hash(guard: Guardrail) -> str:
    """sha256 over the detector's numbers, its threshold and how features are made."""
    reading: list[Any] = [guard.features, guard.layers, guard._features().tokenizer.max_length, guard.threshold_.logit]
    reading += ["plain"] if guard.plain else []
    digest = hashlib.sha256(json.dumps(reading).encode())
    for name, tensor in sorted(guard.detector_.tensors().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def save(guard: Guardrail, folder: str | Path) -> Path:
    """Write a fitted guardrail; InputError when it is not fitted, was given a model object without a name, or has a
    detector that is not plain numbers."""
    if not hasattr(guard, "detector_"):
        raise InputError("the guardrail", found="not fitted", expected="a fitted one", remedy="call fit first")
    tensors = guard.detector_.tensors()
    spec = guard.model if isinstance(guard.model, str) else guard.model.name
    folder = Path(folder)
    tensors |= {
        "train_harmful": torch.from_numpy(np.ascontiguousarray(guard.train_harmful_)),
        "held_harmful": torch.from_numpy(np.ascontiguousarray(guard.held_harmful_)),
    }
    record: dict[str, Any] = {
        "format": FORMAT,
        "model": str(spec),
        "model_hash": model_hash(guard.loaded()),
        "detector_hash": detector_hash(guard),
        "head": guard.head,
        "settings": {k: getattr(guard, k) for k in _SETTINGS},
        "threshold": {
            "logit": guard.threshold_.logit,
            "rate": guard.threshold_.rate,
            "harmless": guard.threshold_.harmless,
        },
        "train_rows": guard.train_rows_,
        "calibration_rows": guard.calibration_rows_,
        "notes": list(guard.notes_),
        "seen": list(guard.seen_),
    }
    with atomic_folder(folder) as made:
        save_file(tensors, made / "guard.safetensors")
        (made / "guard.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    return folder


def load(folder: str | Path, *, model: str | LoadedModel | None = None, device: str = "cpu") -> Guardrail:
    """The guardrail that `save` wrote, running as it did. `model` overrides where the language model is found.

    The folder is data: a factory or a pickle that it names as its language model is refused (InputError). Raises
    FileError (missing or broken folder) and ModelError (another model, tokenizer, or changed numbers).
    """
    folder = Path(folder)
    record = read_record(folder)
    try:
        tensors = load_file(folder / "guard.safetensors")
    except (OSError, SafetensorError) as error:
        raise FileError(
            f"file {folder / 'guard.safetensors'}", found="no readable tensors", remedy="fit again"
        ) from error
    if model is None:
        check_recorded(str(record["model"]), str(folder / "guard.json"))
    guard = Guardrail(
        model or record["model"], head=record["head"], device=device, **{"plain": False, **record["settings"]}
    )
    guard.detector_ = from_tensors(tensors)
    guard.threshold_ = Threshold(**record["threshold"])
    guard.classes_ = np.array([0, 1])
    guard.notes_, guard.seen_ = tuple(record["notes"]), tuple(record["seen"])
    guard.train_rows_, guard.calibration_rows_ = record["train_rows"], record["calibration_rows"]
    guard.train_harmful_, guard.held_harmful_ = tensors["train_harmful"].numpy(), tensors["held_harmful"].numpy()
    _check(f"guardrail {folder}", "language model", model_hash(guard.loaded()), record["model_hash"])
    if guard._features().dimension != len(guard.detector_.mean):
        raise ModelError(
            f"guardrail {folder}", found=f"{guard._features().dimension} features from the model",
            expected=f"{len(guard.detector_.mean)}, as it was fitted on", remedy="fit it again",
        )  # fmt: skip
    _check(f"guardrail {folder}", "detector", detector_hash(guard), record["detector_hash"])
    return guard


def read_record(folder: Path) -> dict[str, Any]:
    """The contents of guard.json; FileError when it is not there, broken, or of another format."""
    path = Path(folder) / "guard.json"
    if not path.is_file():
        raise FileError(f"folder {folder}", found="no guard.json", expected="a folder written by cutaway guard fit")
    try:
        record = read_json(path, "guardrail record", remedy="fit it again")
        version = record["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(f"file {path}", found="no valid guardrail record", remedy="fit it again") from error
    if version != FORMAT:
        raise FileError(f"file {path}", found=f"format {version}", expected=f"format {FORMAT}", remedy="fit it again")
    return record


def _check(offender: str, what: str, found: str, expected: str) -> None:
    if found != expected:
        raise ModelError(
            offender, found=f"a {what} with hash {found[:12]}", expected=f"hash {expected[:12]}, what it was made for",
            remedy=f"use the {what} that it was fitted with, or fit it again",
        )  # fmt: skip
