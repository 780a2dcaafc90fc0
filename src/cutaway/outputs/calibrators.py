"""Calibrators: maps from a classifier's scores to probabilities, fitted on held-out rows, saved as plain numbers.

    calibrator = TemperatureCalibrator.fit(scores, labels)
    calibrator.probabilities(other_scores)        # (n, classes), rows sum to one
    save_calibrator(calibrator, "temperature.json")

`TemperatureCalibrator` keeps the order of the classes of a row; `IsotonicCalibrator` may change it and needs more rows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special
from scipy.optimize import minimize_scalar

from cutaway import files
from cutaway.arrays import Floats
from cutaway.errors import FileError, InputError

LARGEST_LOG = 7.0  # temperatures are looked for between exp(-7) and exp(7)
FORMAT = "cutaway calibrator 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class TemperatureCalibrator:
    """softmax(scores / temperature), with the temperature above 0 that has the least log loss on the rows given.

    Exact to 1e-6 in its logarithm: the loss is convex in 1 / temperature. Source: Guo et al. 2017, arXiv 1706.04599.
    """

    temperature: float

    name: ClassVar[str] = "temperature"

    @classmethod
    def fit(cls, scores: Any, labels: Any) -> Self:
        """Of logits (n, classes) and labels (n,). Raises `InputError` for scores or labels that are none, and where all
        rows are right, or the labels' scores no better than chance, so that no temperature is best."""
        z, y = checked_scores(scores, labels)
        rows = np.arange(len(z))

        def loss(log: float) -> float:
            scaled = z * np.exp(-log)
            return float((special.logsumexp(scaled, axis=1) - scaled[rows, y]).mean())

        given = z[rows, y]
        if (given >= z.max(axis=1)).all() or given.mean() <= z.mean():  # least at temperature 0, or at infinity
            raise InputError(
                "rows for a temperature",
                found="a log loss that is least at no temperature",
                expected="rows of which some are wrong, and scores better than chance",
                remedy="give held-out rows, more of them",
            )
        found: Any = minimize_scalar(
            loss, bounds=(-LARGEST_LOG, LARGEST_LOG), method="bounded", options={"xatol": 1e-6}
        )
        return cls(temperature=float(np.exp(found.x)))

    def probabilities(self, scores: Any) -> Floats:
        """Probabilities (n, classes) of logits (n, classes)."""
        return special.softmax(checked_scores(scores)[0] / self.temperature, axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class IsotonicCalibrator:
    """Per class the rising step map of its softmax probability that is nearest to the outcomes, then rows scaled to sum
    to one; a row in which all maps are 0 becomes uniform.

    `inputs`, `outputs`: per class the corners of its map, linear between them. Two classes have one map, of the second.
    Source: Zadrozny and Elkan (2002).
    """

    inputs: tuple[tuple[float, ...], ...]
    outputs: tuple[tuple[float, ...], ...]

    name: ClassVar[str] = "isotonic"

    @classmethod
    def fit(cls, scores: Any, labels: Any) -> Self:
        """Of logits (n, classes) and labels (n,). Raises `InputError` for scores or labels that are none."""
        from sklearn.isotonic import IsotonicRegression

        z, y = checked_scores(scores, labels)
        p = special.softmax(z, axis=1)
        corners = []
        for k in _judged(p.shape[1]):
            found = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(p[:, k], (y == k).astype(float))
            corners.append((tuple(map(float, found.X_thresholds_)), tuple(map(float, found.y_thresholds_))))
        return cls(inputs=tuple(c[0] for c in corners), outputs=tuple(c[1] for c in corners))

    def probabilities(self, scores: Any) -> Floats:
        """Probabilities (n, classes) of logits (n, classes). Raises `InputError` for another number of classes."""
        p = special.softmax(checked_scores(scores)[0], axis=1)
        judged = _judged(p.shape[1])
        if len(judged) != len(self.inputs):
            raise InputError(
                "scores for an isotonic calibrator",
                found=f"{p.shape[1]} classes",
                expected=f"{2 if len(self.inputs) == 1 else len(self.inputs)}, as it was fitted on",
                remedy="fit a calibrator for this network",
            )
        mapped = np.stack([np.interp(p[:, k], x, y) for k, x, y in zip(judged, self.inputs, self.outputs)], axis=1)
        if len(judged) == 1:
            return np.concatenate([1 - mapped, mapped], axis=1)
        total = mapped.sum(axis=1, keepdims=True)
        return np.where(total > 0, mapped / np.where(total > 0, total, 1.0), 1 / p.shape[1])


_KINDS: dict[str, type[TemperatureCalibrator] | type[IsotonicCalibrator]] = {
    kind.name: kind for kind in (TemperatureCalibrator, IsotonicCalibrator)
}


def save_calibrator(calibrator: TemperatureCalibrator | IsotonicCalibrator, path: str | Path) -> Path:
    """Write it as JSON: a kind and numbers, no code. Written whole or not at all."""
    import json

    return files.write_text(path, json.dumps({"format": FORMAT, "kind": calibrator.name, **asdict(calibrator)}) + "\n")


def load_calibrator(path: str | Path) -> TemperatureCalibrator | IsotonicCalibrator:
    """The calibrator in a file of `save_calibrator`. Raises `FileError` for a file that is none: another kind, maps
    that fall or leave [0, 1], a temperature that is not above 0."""
    record = files.read_json(path, "calibrator", remedy="write it with cutaway.outputs.save_calibrator")
    kind = record.get("kind")
    wrong = "" if record.get("format") == FORMAT else f"format {record.get('format')!r}"
    if not wrong and kind == "temperature":
        value = record.get("temperature")
        if isinstance(value, float | int) and not isinstance(value, bool) and 0 < value < float("inf"):
            return TemperatureCalibrator(temperature=float(value))
        wrong = f"a temperature of {value!r}"
    elif not wrong and kind == "isotonic":
        inputs, outputs = record.get("inputs"), record.get("outputs")
        if wrong := _no_maps(inputs, outputs):
            pass
        else:
            assert isinstance(inputs, list) and isinstance(outputs, list)
            return IsotonicCalibrator(inputs=_tuples(inputs), outputs=_tuples(outputs))
    raise FileError(
        f"calibrator {str(path)!r}",
        found=wrong or f"kind {kind!r}",
        expected=f"{FORMAT!r} of kind {' or '.join(_KINDS)}",
        remedy="write it again with cutaway.outputs.save_calibrator",
    )


def checked_scores(scores: Any, labels: Any = None) -> tuple[Floats, NDArray[np.int64]]:
    """Logits (n, classes) as float64 and labels (n,) as int64; `InputError` where they are none."""
    z = np.asarray(scores.detach().cpu() if isinstance(scores, torch.Tensor) else scores, dtype=np.float64)
    y = np.asarray(labels.cpu() if isinstance(labels, torch.Tensor) else labels if labels is not None else [])
    wrong = ""
    if z.ndim != 2 or z.shape[0] < 1 or z.shape[1] < 2:
        wrong = f"shape {z.shape}"
    elif not np.isfinite(z).all():
        wrong = f"NaN or infinity in row {int((~np.isfinite(z)).any(axis=1).argmax())}"
    elif labels is not None and (y.shape != z.shape[:1] or y.dtype.kind not in "iu"):
        wrong = f"labels of shape {y.shape} and type {y.dtype}"
    elif labels is not None and not ((y >= 0) & (y < z.shape[1])).all():
        wrong = f"label {int(y[((y < 0) | (y >= z.shape[1])).argmax()])}"
    if wrong:
        raise InputError(
            "scores to calibrate",
            found=wrong,
            expected="finite logits (n, classes) of two classes or more, and a class number a row",
            remedy="give the network's outputs before softmax and its labels",
        )
    return z, y.astype(np.int64)


def _judged(classes: int) -> range:
    """Which classes have a map of their own: of two, the second."""
    return range(1, 2) if classes == 2 else range(classes)


def _no_maps(inputs: Any, outputs: Any) -> str:
    """Why these are no rising maps from [0, 1] to [0, 1], or an empty string."""
    if not (isinstance(inputs, list) and isinstance(outputs, list) and inputs and len(inputs) == len(outputs)):
        return "no maps"
    for k, (x, y) in enumerate(zip(inputs, outputs, strict=True)):
        if not (isinstance(x, list) and isinstance(y, list) and x and len(x) == len(y)):
            return f"a map of class {k} without corners"
        if not all(isinstance(v, float | int) and 0 <= v <= 1 for v in (*x, *y)):
            return f"a map of class {k} that leaves [0, 1]"
        if any(b < a for part in (x, y) for a, b in pairwise(part)):
            return f"a map of class {k} that falls"
    return ""


def _tuples(parts: list[list[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, part)) for part in parts)
