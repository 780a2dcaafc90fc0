"""The kept prompts of a guardrail as two files in its folder: `evidence.json` (texts, labels, agreement; sealed) and
`evidence.safetensors` (token vectors, float16). Both are data and are checked before they are used; they belong to one
language model. Whoever reads the folder reads the prompts.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save_file

from cutaway.errors import FileError, ModelError
from cutaway.files import atomic_folder, read_bytes, read_json
from cutaway.guard.evidence import Agreement, Evidence
from cutaway.guard.folder import model_hash
from cutaway.guard.guardrail import Guardrail
from cutaway.guard.seal import check_seal, sealed

NAME = "evidence.json"
_VECTORS = "evidence.safetensors"
_REMEDY = "fit the guardrail again"
_Count = Annotated[int, Field(ge=0)]
_Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Agreement(_Part):
    rows: Annotated[int, Field(ge=1)]
    agree: _Count
    share: _Share
    low: _Share
    high: _Share
    words: _Count
    chance: _Share


class _Record(_Part):
    format: Literal[1]
    model_hash: str
    texts: list[str]
    labels: list[Literal[0, 1]]
    lengths: list[Annotated[int, Field(ge=1)]]
    agreement: _Agreement | None
    seal: str
    hmac: str = ""


def write_evidence(kept: Evidence, guard: Guardrail, folder: str | Path) -> Path:
    """Write both files into the guardrail's folder. Returns it."""
    tensors = {"vectors": torch.from_numpy(np.concatenate(kept.vectors).astype(np.float16))}
    record = {
        "format": 1,
        "model_hash": model_hash(guard.loaded()),
        "texts": list(kept.texts),
        "labels": [int(v) for v in kept.labels],
        "lengths": [len(v) for v in kept.vectors],
        "agreement": None if kept.agreement is None else asdict(kept.agreement),
    }
    with atomic_folder(folder) as made:
        save_file(tensors, made / _VECTORS)
        (made / NAME).write_text(json.dumps(sealed(record, tensors), indent=1), encoding="utf-8")
    return Path(folder)


def remove_evidence(folder: str | Path) -> None:
    """Take what an earlier fit kept out of the folder."""
    for name in (NAME, _VECTORS):
        (Path(folder) / name).unlink(missing_ok=True)


def read_evidence(folder: str | Path, guard: Guardrail) -> Evidence:
    """What `write_evidence` wrote. Raises FileError where it is missing or broken, ModelError where it was changed or
    is of another language model."""
    path = Path(folder) / NAME
    if not path.is_file():
        raise FileError(
            f"folder {folder}",
            found=f"no {NAME}",
            expected="the prompts that cutaway guard fit keeps",
            remedy=f"{_REMEDY} with --keep-prompts 1000",
        )
    content = read_json(path, "evidence", remedy=_REMEDY)
    try:
        record = _Record.model_validate(content)
        vectors = read_tensors(read_bytes(Path(folder) / _VECTORS))["vectors"]
    except (ValidationError, SafetensorError, ValueError, KeyError) as error:
        raise FileError(
            f"file {path}", found="no valid record of kept prompts", expected="format 1", remedy=_REMEDY
        ) from error
    check_seal(content, {"vectors": vectors}, f"evidence {path}", remedy=_REMEDY)
    if record.model_hash != (own := model_hash(guard.loaded())):
        raise ModelError(
            f"evidence {path}",
            found=f"token vectors of another language model ({record.model_hash[:12]})",
            expected=f"{own[:12]}, this one",
            remedy=_REMEDY,
        )
    sizes = (len(record.texts), len(record.labels), len(record.lengths), sum(record.lengths))
    if len(set(sizes[:3])) > 1 or not sizes[0] or vectors.ndim != 2 or sizes[3] != len(vectors):
        raise FileError(
            f"file {path}",
            found=f"{sizes[0]} texts, {sizes[1]} labels, {sizes[3]} tokens for {tuple(vectors.shape)} vectors",
            expected="one label and its token vectors for every text",
            remedy=_REMEDY,
        )
    parts = np.split(vectors.numpy(), np.cumsum(record.lengths)[:-1])
    agreement = None if record.agreement is None else Agreement(**record.agreement.model_dump())
    return Evidence(record.texts, np.array(record.labels), parts, agreement)
