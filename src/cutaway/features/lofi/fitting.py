"""From parameters to a fitted stack: choose the path, hold points out, search, refit. Pure functions under the
estimators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutaway import seeds
from cutaway.arrays import Array
from cutaway.engines.threads import threads_for_rows
from cutaway.features.lofi.errors import EstimatorInputError
from cutaway.features.lofi.kernel_path import KernelPath
from cutaway.features.lofi.labels import Signals
from cutaway.features.lofi.parameters import gigabytes
from cutaway.features.lofi.readout import ALPHAS
from cutaway.features.lofi.selection import Selection, search, select

Codes = NDArray[np.intp] | None

DEFAULT_COUNT, DEFAULT_ALPHA = 8, 1e-3
MODES = ("auto", "kernel", "finite", "nystroem", "conv")


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """Everything a fit needs beside the data; field by field the parameters of the estimators."""

    mode: str
    n_layers: int
    n_directions: int | str | tuple[int, ...]
    activation: str
    width: int
    alpha: float | str
    label_directions: int | str
    validation_fraction: float
    refit: bool
    early_stopping: bool
    image_shape: tuple[int, int, int] | None
    channels: int
    kernel_size: int
    pool: int
    backward_passes: int
    backward_rank: float
    budget: int
    device: str
    dtype: str
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """The model, what was selected (None where nothing was held out) and the mode that ran."""

    model: Any
    selection: Selection | None
    count: int
    depth: int
    alpha: float
    mode: str
    backward_passes: int = 0


def resolve_mode(mode: str, num: int, budget: int) -> str:
    """`auto`: the exact kernel while three n x n arrays fit in the budget, the Nystroem form beyond."""
    if mode not in MODES:
        raise EstimatorInputError(
            "parameter mode", found=repr(mode), expected=f"one of {', '.join(MODES)}", remedy="give one of these"
        )
    kernel_gb = 3 * 8.0 * num**2 / 1e9
    if mode == "auto":
        return "kernel" if kernel_gb <= budget / 1e9 else "nystroem"
    if mode == "kernel" and kernel_gb > budget / 1e9:
        raise EstimatorInputError(
            f"mode='kernel' with {num} rows",
            found=f"a need of {gigabytes(kernel_gb)}",
            expected=f"at most budget={budget} bytes",
            remedy="use mode='nystroem' or raise budget",
        )
    return mode


def make_path(
    inputs: Array, evaluation: Array, signals: Signals, codes: Codes, settings: FitSettings, mode: str
) -> Any:
    """A fresh stack of the chosen kind over training `inputs`, carrying `evaluation` along."""
    generator = np.random.default_rng(settings.seed)
    if mode == "kernel":
        return KernelPath(
            inputs=np.asarray(inputs, dtype=np.float64),
            evaluation=np.asarray(evaluation, dtype=np.float64),
            signals=signals,
            activation=settings.activation,
            generator=generator,
            directions=settings.label_directions,
        )
    from cutaway.features.lofi.primal_path import LiftSettings, PrimalPath

    if mode == "conv" and (settings.image_shape is None or np.prod(settings.image_shape) != inputs.shape[1]):
        raise EstimatorInputError(
            "parameter image_shape",
            found=f"{settings.image_shape} for rows of {inputs.shape[1]} numbers",
            expected="(channels, height, width) whose product is the number of columns",
            remedy="give the images' true shape",
        )
    lift = LiftSettings(
        kind=mode,
        width=settings.width,
        activation=settings.activation,
        budget=settings.budget,
        device=settings.device,
        dtype=_dtype(settings.dtype, inputs.shape[0]),
        image_shape=settings.image_shape,
        conv_layers=settings.n_layers - 1 if mode == "conv" else 0,
        channels=settings.channels,
        kernel_size=settings.kernel_size,
        pool=settings.pool,
    )
    return PrimalPath(
        inputs=inputs,
        evaluation=evaluation,
        signals=signals,
        settings=lift,
        generator=generator,
        directions=settings.label_directions,
        classes=codes,
    )


def _dtype(name: str, num: int) -> Any:
    import torch

    known = {"float32": torch.float32, "float64": torch.float64}
    known["auto"] = torch.float64 if num <= 5000 else torch.float32
    if name not in known:
        raise EstimatorInputError(
            "parameter dtype", found=repr(name), expected="float32, float64 or auto", remedy="give one of these"
        )
    return known[name]


def count_grid(settings: FitSettings, num: int, columns: int) -> tuple[int, ...]:
    """Candidate numbers of directions; a fixed one is clipped to n - 1 (the rank that data of n rows can carry)."""
    if settings.n_directions != "auto":
        wanted = np.atleast_1d(np.asarray(settings.n_directions, dtype=int))
        if wanted.min() < 1:
            raise EstimatorInputError(
                "parameter n_directions",
                found=str(int(wanted.min())),
                expected="at least 1",
                remedy="give larger numbers",
            )
        return tuple(sorted({int(min(w, max(num - 1, 1))) for w in wanted}))
    grid = (4, 8, 16, 32, 64) if columns <= 2 else (16, 32, 64, 128)
    room = max(1, min(num // 4, settings.width))
    return tuple(sorted({min(g, room) for g in grid}))


def hold_out(num: int, codes: Codes, fraction: float, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Mask of held-out rows: `fraction` of every class (or of all rows), never the whole of one."""
    mask = np.zeros(num, dtype=bool)
    groups = [np.arange(num)] if codes is None else [np.flatnonzero(codes == c) for c in np.unique(codes)]
    for group in groups:
        take = min(round(fraction * group.size), group.size - 1)
        mask[generator.permutation(group)[:take]] = True
    return mask


def fit_stack(
    inputs: Array,
    signals: Signals,
    codes: Codes,
    settings: FitSettings,
    judge: Callable[[Array, NDArray[np.bool_]], Any],
    combine: Callable[[Array, Array], Any],
) -> FitResult:
    """Select on a held-out fold where something is to be selected and points can be spared, then fit.

    `judge(predictions, mask)` gives (loss, hit) over the held-out rows; `combine` as in `selection.select`.
    """
    num = inputs.shape[0]
    mode = resolve_mode(settings.mode, num, settings.budget)
    with threads_for_rows(num, passes=mode != "kernel"):
        columns = signals.operator.shape[1]
        generator = np.random.default_rng(seeds.stream(settings.seed, "lofi", "held out"))
        mask = hold_out(num, codes, settings.validation_fraction, generator)
        if settings.validation_fraction <= 0 or mask.sum() < 4:
            count = DEFAULT_COUNT if settings.n_directions == "auto" else count_grid(settings, num, columns)[-1]
            alpha = DEFAULT_ALPHA if settings.alpha == "auto" else float(settings.alpha)
            count = max(1, min(count, num - 1))
            model = _grow(inputs, signals, codes, settings, mode, count, settings.n_layers, alpha)
            return FitResult(model=model, selection=None, count=count, depth=settings.n_layers, alpha=alpha, mode=mode)
        train = np.flatnonzero(~mask)
        alphas = ALPHAS if settings.alpha == "auto" else (float(settings.alpha),)
        path = make_path(
            inputs[train], inputs[mask], signals.rows(train), None if codes is None else codes[train], settings, mode
        )
        candidates = search(
            path,
            count_grid(settings, train.size, columns),
            settings.n_layers,
            alphas,
            lambda predicted: judge(predicted, mask),
            early_stopping=settings.early_stopping and mode != "conv",
        )
        chosen = select(candidates, generator, combine)
        setting = (settings, mode, chosen.count, chosen.depth, chosen.alpha)
        rows, held = signals.rows(train), None if codes is None else codes[train]
        passes, model = 0, None
        if settings.backward_passes or not settings.refit:
            model = _grow(inputs[train], rows, held, *setting)
        if settings.backward_passes:
            model, passes = _couple_backward(
                model,
                inputs[train],
                rows,
                chosen.alpha,
                settings,
                lambda fitted: float(judge(fitted.predict(inputs[mask]), mask)[0].mean()),
            )
        if settings.refit:
            model = _grow(inputs, signals, codes, *setting)
            for _ in range(passes):
                model = backward_pass_of(model, inputs, signals, chosen.alpha, settings)
        return FitResult(
            model=model,
            selection=chosen,
            count=chosen.count,
            depth=chosen.depth,
            alpha=chosen.alpha,
            mode=mode,
            backward_passes=passes,
        )


def _couple_backward(
    model: Any, inputs: Array, signals: Signals, alpha: float, settings: FitSettings, loss: Callable[[Any], float]
) -> tuple[Any, int]:
    """Backward passes while the held-out loss falls; refused where the algorithm is not defined."""
    from cutaway.features.lofi.backward import BackwardSettings, guarded_passes

    if signals.weights is not None:
        raise EstimatorInputError(
            "parameter backward_passes",
            found="weights of rows",
            expected="rows of equal weight",
            remedy="set backward_passes=0, or leave sample_weight and class_weight out",
        )
    if signals.operator.shape[1] > 1 or settings.mode != "finite":
        raise EstimatorInputError(
            "parameter backward_passes",
            found=f"mode {settings.mode!r} with {signals.operator.shape[1]} label columns",
            expected="mode 'finite' and two classes or one real target",
            remedy="set backward_passes=0",
        )
    chosen = BackwardSettings(rank_share=settings.backward_rank, passes=settings.backward_passes)
    label = np.ascontiguousarray(signals.operator[:, 0])
    fitted, passes, _ = guarded_passes(model, inputs, label, signals.targets, alpha, chosen, loss)
    return fitted, passes


def backward_pass_of(model: Any, inputs: Array, signals: Signals, alpha: float, settings: FitSettings) -> Any:
    """One unguarded pass with the estimators' settings (its number was decided on held-out rows)."""
    from cutaway.features.lofi.backward import BackwardSettings, backward_pass

    chosen = BackwardSettings(rank_share=settings.backward_rank)
    label = np.ascontiguousarray(signals.operator[:, 0])
    return backward_pass(model, inputs, label, signals.targets, alpha, chosen)


def _grow(
    inputs: Array,
    signals: Signals,
    codes: Codes,
    settings: FitSettings,
    mode: str,
    count: int,
    depth: int,
    alpha: float,
) -> Any:
    path = make_path(inputs, inputs[:0], signals, codes, settings, mode)
    path.lift()
    for _ in range(depth - 1):
        path.reduce(count)
        path.lift()
    return path.finish(alpha)
