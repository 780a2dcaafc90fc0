"""A certificate as a JSON file, and the check that it belongs to a guardrail.

The file holds every number of the report, the version of Cutaway that made it, the sha256 of the language model and of
the detector with its rows, and a seal over all of it (`guard.seal`). `check` refuses a certificate of another model,
detector or threshold; `cutaway guard serve` calls it before it starts.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import cutaway
from cutaway.errors import FileError, ModelError
from cutaway.files import read_json, write_text
from cutaway.guard.certificate import Certificate, certify
from cutaway.guard.folder import CERTIFICATE, detector_hash, model_hash
from cutaway.guard.guardrail import Guardrail
from cutaway.guard.judges import RegionResult
from cutaway.guard.mixture import MixtureReport
from cutaway.guard.seal import MARKS, check_seal, sealed
from cutaway.jsonable import clean
from cutaway.status import Status

FORMAT = 2
NAME = CERTIFICATE
REMEDY = "certify again"


def certify_guardrail(guard: Guardrail, points=None, held_out=None, **options) -> Certificate:
    """The certificate of a fitted guardrail; without points, of the harmful rows it was fitted on, held-out rows being
    the harmful rows of its calibration split."""
    return certify(
        guard.detector_,
        guard.threshold_.logit,
        guard.train_harmful_ if points is None else points,
        guard.held_harmful_ if held_out is None else held_out,
        model_hash=model_hash(guard.loaded()),
        detector_hash=detector_hash(guard),
        **options,
    )


def write(certificate: Certificate, path: str | Path) -> Path:
    """Write the certificate as JSON."""
    record = {"format": FORMAT, "version": cutaway.__version__, **clean(dataclasses.asdict(certificate))}
    return write_text(path, json.dumps(sealed(record), indent=1, allow_nan=False))


def read_certificate(path: str | Path) -> Certificate:
    """The certificate in a file; FileError for one that is missing, broken, or of another format, ModelError for one
    that was changed or, where there is a key, not signed with it."""
    path = Path(path)
    if not path.is_file():
        raise FileError(f"certificate {path}", found="no such file", remedy="make one with cutaway guard certify")
    record: dict[str, Any] = read_json(path, "certificate", remedy=REMEDY)
    if (version := record.get("format")) != FORMAT:
        made = "by 0.1.0, before networks were compared with what was imported" if version == 1 else ""
        raise FileError(
            f"certificate {path}",
            found=f"format {str(version)[:40]} {made}".rstrip(),
            expected=f"format {FORMAT}",
            remedy=f"{REMEDY} with cutaway guard certify",
        )
    check_seal(record, None, f"certificate {path}", remedy=REMEDY)
    try:
        record = {name: value for name, value in record.items() if name not in (*MARKS, "format", "version")}
        regions = tuple(
            RegionResult(**{**r, "status": Status(r["status"]), "bound": Status(r["bound"])})
            for r in record.pop("regions")
        )
        mixtures = tuple(MixtureReport(**m) for m in record.pop("mixtures"))
        status, notes = Status(record.pop("status")), tuple(record.pop("notes"))
        return Certificate(regions=regions, mixtures=mixtures, status=status, notes=notes, **record)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileError(
            f"certificate {path}", found="no valid certificate", expected=f"format {FORMAT}", remedy=REMEDY
        ) from error


def fault(path: Path) -> str:
    """What is wrong with the certificate in a file that is about to be replaced; "" for nothing or no file."""
    try:
        if path.is_file():
            read_certificate(path)
    except (FileError, ModelError) as error:
        return str(error)
    return ""


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
