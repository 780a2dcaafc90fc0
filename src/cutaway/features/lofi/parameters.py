"""Checks of estimator parameters that name the offender, shared by LoFi and its baselines.

Each returns the value; an `EstimatorInputError` says which parameter, what it was and what it may be.
"""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutaway.errors import InputError
from cutaway.features.lofi.errors import EstimatorInputError


def checked_integer(name: str, value: Any, least: int) -> int:
    """An integer of at least `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < least:
        raise EstimatorInputError(
            f"parameter {name}",
            found=repr(value),
            expected=f"a whole number, at least {least}",
            remedy="give such a number",
        )
    return int(value)


def gigabytes(size: float) -> str:
    """A need of memory in three figures, rounded up, so that as much is enough."""
    step = 10.0 ** (math.floor(math.log10(size)) - 2)
    return f"{math.ceil(size / step) * step:.3g} GB"


def checked_number(
    name: str, value: Any, least: float = 0.0, most: float = math.inf, *, or_equal: bool = False
) -> float:
    """A finite number above `least` (or equal to it) and at most `most`."""
    number = float(value) if isinstance(value, Real) else math.nan
    good = math.isfinite(number) and number <= most
    if not good or not (number >= least if or_equal else number > least):
        limit = "" if most == math.inf else f" and at most {most:g}"
        words = f"a number {'of at least' if or_equal else 'above'} {least:g}{limit}"
        raise EstimatorInputError(f"parameter {name}", found=repr(value), expected=words, remedy="give such a value")
    return number


def ridge(name: str, value: Any) -> None:
    """A ridge strength: "auto" or a number of at least 0."""
    if isinstance(value, str) and value == "auto":
        return
    if isinstance(value, str):
        raise EstimatorInputError(
            f"parameter {name}",
            found=repr(value),
            expected="'auto' or a number of at least 0",
            remedy="give such a value",
        )
    checked_number(name, value, or_equal=True)


def counts(name: str, value: Any) -> tuple[int, ...] | None:
    """Numbers of directions: None for "auto", else one whole number or several, each at least 1."""
    if isinstance(value, str):
        if value != "auto":
            raise EstimatorInputError(
                f"parameter {name}",
                found=repr(value),
                expected="'auto', a whole number or a tuple of them",
                remedy="give such a value",
            )
        return None
    several = [value] if isinstance(value, (Real, bool)) else list(value)
    if not several:
        raise EstimatorInputError(
            f"parameter {name}",
            found="nothing",
            expected="at least one whole number",
            remedy="give a number for every layer",
        )
    return tuple(checked_integer(name, each, 1) for each in several)


def torch_device(name: str) -> str:
    """A device that torch can put a tensor on."""
    if name != "cpu":
        from cutaway.network.sources import usable_device

        try:
            usable_device(name)
        except InputError as error:
            raise EstimatorInputError(
                "parameter device",
                found=repr(name),
                expected="cpu, or an accelerator that torch can use here",
                remedy="give cpu, or install torch for this accelerator",
            ) from error
    return name


def check_stack(given: Any) -> None:
    """Every parameter of a LoFi estimator `given`, before anything is computed."""
    checked_integer("n_layers", given.n_layers, 1)
    checked_integer("width", given.width, 1)
    largest = max(counts("n_directions", given.n_directions) or (0,))
    if given.mode in ("finite", "nystroem") and largest > given.width:
        raise EstimatorInputError(
            "parameter n_directions",
            found=f"{largest} kept directions",
            expected=f"at most the width {given.width}",
            remedy="lower n_directions or raise width",
        )
    ridge("alpha", given.alpha)
    if not (isinstance(given.label_directions, str) and given.label_directions == "all"):
        if isinstance(given.label_directions, str):
            raise EstimatorInputError(
                "parameter label_directions",
                found=repr(given.label_directions),
                expected="'all' or a whole number",
                remedy="give such a value",
            )
        checked_integer("label_directions", given.label_directions, 1)
    share = given.validation_fraction
    if not (isinstance(share, Real) and 0 <= float(share) < 1):
        raise EstimatorInputError(
            "parameter validation_fraction",
            found=str(share),
            expected="a share in [0, 1)",
            remedy="give a share such as 0.2",
        )
    for name in ("channels", "kernel_size", "pool"):
        checked_integer(name, getattr(given, name), 1)
    checked_integer("backward_passes", given.backward_passes, 0)
    checked_number("backward_rank", given.backward_rank, most=1.0)
    checked_number("budget", given.budget)
    torch_device(given.device)


def checked_pairs(features: Any, labels: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Features (n, D) and real labels (n,) in float64; `EstimatorInputError` for other shapes and for constants."""
    features, labels = np.asarray(features, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise EstimatorInputError(
            "features and labels",
            found=f"shapes {features.shape} and {labels.shape}",
            expected="(n, D) and (n,)",
            remedy="give a row of features and one label a row",
        )
    if features.shape[0] < 4:
        raise EstimatorInputError(
            "features", found=f"{features.shape[0]} rows", expected="at least 4", remedy="give more rows"
        )
    if not (np.isfinite(features).all() and np.isfinite(labels).all()):
        raise EstimatorInputError(
            "features or labels", found="NaN or infinity", expected="finite numbers", remedy="remove or mend these rows"
        )
    if labels.std() == 0:
        raise EstimatorInputError(
            "labels",
            found="one constant value",
            expected="labels that vary",
            remedy="give labels of at least two values",
        )
    return features, labels
