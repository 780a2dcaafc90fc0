"""A fitted guardrail as one folder without pickle: `guard.json` (settings, hashes) and `guard.safetensors` (numbers).

The folder names its language model and holds the sha256 of its architecture and weights and of the tokenizer's
vocabulary; loading refuses another model or tokenizer. `detector_hash` is the sha256 over all that a certificate
depends on: the detector's numbers, training and held-out rows, threshold and feature settings. A seal (`guard.seal`)
covers everything in both files. Folders of format 1 are refused with the command that converts them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save_file

import cutaway
from cutaway.errors import FileError, InputError, ModelError
from cutaway.files import atomic_folder, read_bytes, read_json
from cutaway.guard.detector import from_tensors
from cutaway.guard.guardrail import Guardrail
from cutaway.guard.record import FORMAT, REMEDY, Record, check_tensors, checked_record
from cutaway.guard.seal import check_seal, seal_digest, sealed
from cutaway.guard.threshold import Threshold
from cutaway.network import Network
from cutaway.network.sources import LoadedModel, check_recorded

CERTIFICATE = "certificate.json"
_SETTINGS = ("features", "layers", "rate", "calibration", "strength", "max_length", "batch_size", "seed", "plain")


def model_hash(loaded: LoadedModel) -> str:
    """sha256 over architecture, weights and the tokenizer's vocabulary."""
    digest = hashlib.sha256(Network(loaded.model).fingerprint().encode())
    vocabulary = loaded.tokenizer.get_vocab() if loaded.tokenizer is not None else {}
    digest.update(json.dumps(sorted(vocabulary.items(), key=lambda kv: (kv[1], kv[0]))).encode())
    return digest.hexdigest()


def detector_hash(guard: Guardrail) -> str:
    """sha256 over all that a certificate depends on beside the language model: the detector's numbers, training and
    held-out rows, threshold, and how features are made."""
    limit = guard.threshold_
    settings = [guard.kind(), guard.layers, guard._features().tokenizer.max_length, guard.plain]
    if guard.kind() == "sentence":
        settings.append(guard.pooling())
    return seal_digest({"settings": settings, "threshold": [limit.logit, limit.rate, limit.harmless]}, _tensors(guard))


def _tensors(guard: Guardrail) -> dict[str, torch.Tensor]:
    rows = {"train_harmful": guard.train_harmful_, "held_harmful": guard.held_harmful_}
    return guard.detector_.tensors() | {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in rows.items()}


def save_guardrail(guard: Guardrail, folder: str | Path) -> Path:
    """Write a fitted guardrail; InputError when it is not fitted, was given a model object without a name, or has a
    detector that is not plain numbers."""
    if not hasattr(guard, "detector_"):
        raise InputError("the guardrail", found="not fitted", expected="a fitted one", remedy="call fit first")
    tensors = _tensors(guard)
    spec = guard.model if isinstance(guard.model, str) else guard.model.name
    folder = Path(folder)
    record: dict[str, Any] = {
        "format": FORMAT,
        "version": cutaway.__version__,
        "model": str(spec),
        "model_hash": model_hash(guard.loaded()),
        "detector_hash": detector_hash(guard),
        "head": guard.head,
        "settings": {k: getattr(guard, k) for k in _SETTINGS} | {"features": guard.kind(), "strength": guard.penalty()},
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
        (made / "guard.json").write_text(json.dumps(sealed(record, tensors), indent=1), encoding="utf-8")
    return folder


def load_guardrail(
    folder: str | Path, *, model: str | LoadedModel | None = None, device: str = "cpu", certificate: bool = True
) -> Guardrail:
    """The guardrail that `save_guardrail` wrote, running as it did. `model` overrides where the language model is.

    The folder is data: a factory or a pickle that it names as its language model is refused (InputError). Raises
    FileError (missing, broken or of an older format) and ModelError (another model or tokenizer, anything changed, also
    in the folder's certificate unless not `certificate`).
    """
    folder = Path(folder)
    content = read_guard_record(folder)
    if content["format"] != FORMAT:
        raise FileError(
            f"file {folder / 'guard.json'}",
            found=f"format {content['format']}",
            expected=f"format {FORMAT}",
            remedy=f"convert it with cutaway guard seal {folder}",
        )
    guard = _opened(folder, content, model, device, signed=True)
    if certificate and (kept := folder / CERTIFICATE).is_file():
        found = read_json(kept, "certificate", remedy="certify again")
        check_seal(found, None, f"certificate {kept}", remedy="certify again")
    return guard


def reseal(folder: str | Path, *, model: str | None = None, device: str = "cpu") -> Path:
    """Check a folder of this or an older format and write it again in this one, signed if there is a key; its
    certificate, which does not cover what one does today, is set aside as `certificate.old.json`.

    Raises as `load_guardrail`, except for a missing signature or an old format.
    """
    folder = Path(folder)
    content = read_guard_record(folder)
    guard = _opened(folder, content, model, device, signed=False)
    guard.model = content["model"] if model is None else model
    save_guardrail(guard, folder)
    if (kept := folder / CERTIFICATE).is_file():
        kept.replace(folder / "certificate.old.json")
    return folder


def _opened(folder: Path, content: dict[str, Any], model, device: str, *, signed: bool) -> Guardrail:
    """Everything checked before the language model is opened, then what only it can tell."""
    if model is None:
        check_recorded(str(content.get("model")), str(folder / "guard.json"))
    record = checked_record(content, f"file {folder / 'guard.json'}")
    try:
        tensors = read_tensors(read_bytes(folder / "guard.safetensors"))
    except (SafetensorError, ValueError, KeyError) as error:
        raise FileError(f"file {folder / 'guard.safetensors'}", found="no readable tensors", remedy=REMEDY) from error
    check_tensors(tensors, f"file {folder / 'guard.safetensors'}")
    if record.format == FORMAT:
        check_seal(content, tensors, f"guardrail {folder}", remedy=REMEDY, signed=signed)
    guard = _guard(record, tensors, model, device)
    _check(f"guardrail {folder}", "language model", model_hash(guard.loaded()), record.model_hash)
    if guard._features().dimension != len(guard.detector_.mean):
        raise ModelError(
            f"guardrail {folder}",
            found=f"{guard._features().dimension} features from the model",
            expected=f"{len(guard.detector_.mean)}, as it was fitted on",
            remedy=REMEDY,
        )
    found = detector_hash(guard) if record.format == FORMAT else _first_detector_hash(guard)
    _check(f"guardrail {folder}", "detector", found, record.detector_hash)
    return guard


def _guard(record: Record, tensors: dict[str, torch.Tensor], model, device: str) -> Guardrail:
    guard = Guardrail(model or record.model, head=record.head, device=device, **record.settings.model_dump())
    guard.detector_ = from_tensors(tensors)
    guard.threshold_ = Threshold(**record.threshold.model_dump())
    guard.classes_ = np.array([0, 1])
    guard.notes_, guard.seen_ = tuple(record.notes), tuple(record.seen)
    guard.train_rows_, guard.calibration_rows_ = record.train_rows, record.calibration_rows
    guard.train_harmful_, guard.held_harmful_ = tensors["train_harmful"].numpy(), tensors["held_harmful"].numpy()
    return guard


def _first_detector_hash(guard: Guardrail) -> str:
    """The hash of format 1, which left out the rows."""
    settings: list[Any] = [guard.kind(), guard.layers, guard._features().tokenizer.max_length]
    settings += [guard.threshold_.logit, *(["plain"] if guard.plain else [])]
    found = hashlib.sha256(json.dumps(settings).encode())
    for name, tensor in sorted(guard.detector_.tensors().items()):
        found.update(f"{name}{tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
    return found.hexdigest()


def read_guard_record(folder: Path) -> dict[str, Any]:
    """The contents of guard.json, of any format that can be read; FileError when it is not there, broken, or newer."""
    path = Path(folder) / "guard.json"
    if not path.is_file():
        raise FileError(
            f"folder {folder}",
            found="no guard.json",
            expected="a folder written by cutaway guard fit",
            remedy="check the path, or fit a guardrail first",
        )
    record = read_json(path, "guardrail record", remedy=REMEDY)
    version = record.get("format")
    if type(version) is not int or not 1 <= version <= FORMAT:
        newer = type(version) is int and version > FORMAT
        raise FileError(
            f"file {path}",
            found=f"format {version!r}"[:80],
            expected=f"format {FORMAT} or older",
            remedy="update Cutaway" if newer else REMEDY,
        )
    return record


def _check(offender: str, what: str, found: str, expected: str) -> None:
    if found != expected:
        raise ModelError(
            offender,
            found=f"a {what} with hash {found[:12]}",
            expected=f"hash {expected[:12]}, what it was made for",
            remedy=f"use the {what} that it was fitted with, or {REMEDY}",
        )
