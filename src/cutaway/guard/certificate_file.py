"""A certificate as a JSON file, and the check that it belongs to a guardrail.

The file holds every number of the report with the sha256 of the language model and of the detector. `check` refuses a
certificate of another model, detector or threshold; `cutaway guard serve` calls it before it starts.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from cutaway.errors import FileError, ModelError
from cutaway.files import atomic, read_json
from cutaway.guard.certificate import Certificate, certify
from cutaway.guard.folder import detector_hash, model_hash
from cutaway.guard.guardrail import Guardrail
from cutaway.guard.judges import RegionResult
from cutaway.guard.mixture import MixtureReport
from cutaway.jsonable import clean
from cutaway.status import Status

FORMAT = 1
NAME = "certificate.json"


def certify_guardrail(guard: Guardrail, points=None, held_out=None, **options) -> Certificate:
    """The certificate of a fitted guardrail; without points, of the harmful rows it was fitted on, held-out rows being
    the harmful rows of its calibration split."""
    return certify(
        guard.detector_, guard.threshold_.logit,
        guard.train_harmful_ if points is None else points, guard.held_harmful_ if held_out is None else held_out,
        model_hash=model_hash(guard.loaded()), detector_hash=detector_hash(guard), **options,
    )  # fmt: skip


def write(certificate: Certificate, path: str | Path) -> Path:
    """Write the certificate as JSON."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"format": FORMAT, **clean(dataclasses.asdict(certificate))}
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1, allow_nan=False), encoding="utf-8")
    return path


def read(path: str | Path) -> Certificate:
    """The certificate in a file; FileError for one that is missing, broken, or of another format."""
    path = Path(path)
    if not path.is_file():
        raise FileError(f"certificate {path}", found="no such file", remedy="make one with cutaway guard certify")
    try:
        record: dict[str, Any] = read_json(path, "certificate", remedy="certify again")
        if record.pop("format") != FORMAT:
            raise ValueError("format")
        regions = tuple(
            RegionResult(**{**r, "status": Status(r["status"]), "bound": Status(r["bound"])})
            for r in record.pop("regions")
        )
        mixtures = tuple(MixtureReport(**m) for m in record.pop("mixtures"))
        status, notes = Status(record.pop("status")), tuple(record.pop("notes"))
        return Certificate(regions=regions, mixtures=mixtures, status=status, notes=notes, **record)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileError(
            f"certificate {path}", found="no valid certificate", expected=f"format {FORMAT}", remedy="certify again"
        ) from error


def check(certificate: Certificate, guard: Guardrail) -> None:
    """ModelError unless the certificate was made for this language model, this detector and this threshold."""
    for what, found, expected in (
        ("language model", model_hash(guard.loaded()), certificate.model_hash),
        ("detector", detector_hash(guard), certificate.detector_hash),
    ):
        if found != expected:
            raise ModelError(
                "the certificate",
                found=f"one for another {what} ({expected[:12]})",
                expected=f"{found[:12]}, this one",
                remedy="run cutaway guard certify again",
            )
