"""What shows that a record and its numbers are as they were written: a sha256 over all of them, and a keyed one.

`seal` is the sha256 over every field of the record and every tensor. Whoever can write the file can compute it anew: it
is there against accidents and edits. With a key in the environment variable CUTAWAY_KEY the record also carries
`hmac` (HMAC-SHA256 of the seal, RFC 2104), which nobody without the key can make; where the key is set, a record
without it is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from cutaway.errors import ModelError

KEY = "CUTAWAY_KEY"
MARKS = ("seal", "hmac")


def sealed(record: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
    """The record with its seal, and its hmac where there is a key."""
    mark = seal_digest(record, tensors)
    key = os.environ.get(KEY)
    return {**_bare(record), "seal": mark} | ({"hmac": _keyed(key, mark)} if key else {})


def check_seal(
    record: Mapping[str, Any], tensors: Mapping[str, Tensor] | None, offender: str, *, remedy: str, signed: bool = True
) -> None:
    """Raises `ModelError` for a record or tensors that differ from what was sealed, or a missing or wrong hmac while a
    key is set (unless not `signed`)."""
    key, mark = os.environ.get(KEY), seal_digest(record, tensors)
    if not hmac.compare_digest(mark, str(record.get("seal"))):
        raise ModelError(
            offender, found="contents that were changed after it was written", expected="its seal", remedy=remedy
        )
    if not (key and signed):
        return
    given = str(record.get("hmac", ""))
    if not hmac.compare_digest(_keyed(key, mark), given):
        raise ModelError(
            offender,
            found="a signature of another key" if given else "no signature",
            expected=f"one made with the key in {KEY}",
            remedy=remedy if given else f"{remedy}; cutaway guard seal signs a folder that you trust",
        )


def seal_digest(record: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None) -> str:
    """sha256 over the record without its marks, and over names, types, shapes and bytes of the tensors."""
    found = hashlib.sha256(json.dumps(_bare(record), sort_keys=True).encode())
    for name, tensor in sorted((tensors or {}).items()):
        found.update(f"\0{name}\0{tensor.dtype}{tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
    return found.hexdigest()


def _bare(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in MARKS}


def _keyed(key: str, mark: str) -> str:
    return hmac.new(key.encode(), mark.encode(), hashlib.sha256).hexdigest()
