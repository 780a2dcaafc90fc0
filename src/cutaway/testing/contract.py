"""The contract that every instrument keeps, as one call.

    from cutaway.testing import check_instrument
    check_instrument(MyInstrument())

It runs the instrument on a small network and data set (or ones you give) and raises `AssertionError` with the clause
that broke.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import CutawayError
from cutaway.instrument import Instrument
from cutaway.needs import NEEDS
from cutaway.network import Network
from cutaway.reading import Reading
from cutaway.status import Status

LOOSE = {"relative": 1e-3, "absolute": 1e-5}  # float32 sums in another order


def check_instrument(
    instrument: Instrument,
    model: nn.Module | None = None,
    data: Dataset | None = None,
    *,
    small_budget: int = 2_000_000,
) -> Reading:
    """Check the contract and return the reading; `AssertionError` names the clause that is broken.

    Clauses: described; leaves the model as it was, also when it fails midway; same seed, same reading; chunked
    (budget of `small_budget` bytes) equals unchunked; float64 agrees with float32; every figure and variable carries
    its attributes; survives its file; refuses NaN inputs; says why when it does not apply. The default subject is a
    small classifier of 4x4 images with three classes, with groups and second labels where the instrument needs them, or
    a small generator of such images.
    """
    generator = "generator" in instrument.needs
    model = model if model is not None else small_generator() if generator else small_classifier()
    data = data if data is not None else small_latents() if generator else _with_columns(small_data(), instrument.needs)
    _described(instrument)
    before = model_state(model)
    reading = instrument.measure(Network(model, data.inputs[:2]), data, seed=3)
    assert model_state(model) == before, f"{instrument.name}: the model was changed by a measurement"
    _fails_midway(instrument, model, data, before)
    again = instrument.measure(Network(model, data.inputs[:2]), data, seed=3)
    assert reading.same_result(again), f"{instrument.name}: the same seed gave another reading"
    if reading.status is Status.UNSUPPORTED:
        assert reading.reason, f"{instrument.name}: unsupported without a reason"
        return reading
    chunked = instrument.measure(Network(model, data.inputs[:2]), data, seed=3, budget=small_budget)
    _agree(reading, chunked, f"{instrument.name}: a small budget changed the figures")
    wide_model = copy.deepcopy(model).double()
    wide_data = dataclasses.replace(data, inputs=data.inputs.double()) if data.inputs.is_floating_point() else data
    wide = instrument.measure(Network(wide_model, wide_data.inputs[:2]), wide_data, seed=3)
    _agree(reading, wide, f"{instrument.name}: float64 disagrees with float32", relative=0.05, absolute=0.02)
    _complete(instrument, reading)
    _survives_a_file(instrument, reading)
    _refuses_nan(instrument, model, data)
    assert model_state(model) == before, f"{instrument.name}: the model was changed"
    return reading


def small_classifier(seed: int = 0) -> nn.Sequential:
    """1x4x4 images -> 3 classes, a convolution, two hidden ReLU sites, 200 parameters, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = (nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))
        return nn.Sequential(*layers).eval()


def small_data(rows: int = 48, seed: int = 0) -> Dataset:
    """Random images in [0, 1] with labels that a bright quarter gives away."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % 3
    inputs = 0.6 * torch.rand((rows, 1, 4, 4), generator=generator, dtype=torch.float32)
    for row, label in enumerate(labels.tolist()):
        inputs[row, 0, label, :] += 0.4
    return Dataset(name="small", inputs=inputs, labels=labels, num_classes=3, value_range=(0.0, 1.0))


def small_generator(seed: int = 0) -> nn.Sequential:
    """Latents of 3 numbers -> 1x4x4 images in (0, 1), in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = (nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 16), nn.Sigmoid(), nn.Unflatten(1, (1, 4, 4)))
        return nn.Sequential(*layers).eval()


def small_latents(rows: int = 48, seed: int = 0) -> Dataset:
    """Standard normal latents of three numbers."""
    return Dataset(
        name="latents",
        inputs=torch.randn((rows, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.float32),
    )


def _with_columns(data: Dataset, needs: frozenset[str]) -> Dataset:
    """Two groups, and second labels that disagree with the first in every fifth row, where they are needed."""
    rows = torch.arange(len(data))
    assert data.labels is not None
    groups = rows % 2 if "groups" in needs else None
    labels2 = torch.where(rows % 5 == 0, (data.labels + 1) % 3, data.labels) if "labels2" in needs else None
    return dataclasses.replace(data, groups=groups, labels2=labels2)


def model_state(model: nn.Module) -> tuple:
    """All that a measurement could disturb, comparable with ==."""
    parameters = tuple((n, p.requires_grad, p.grad is None, id(p.grad), _bytes(p)) for n, p in model.named_parameters())
    buffers = tuple((n, _bytes(b)) for n, b in model.named_buffers())
    modes = tuple(m.training for m in model.modules())
    hooks = tuple(
        (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks), len(m._backward_pre_hooks))
        for m in model.modules()
    )
    rng = (torch.get_rng_state().numpy().tobytes(), np.random.get_state(legacy=False)["state"]["key"].tobytes())  # noqa: NPY002
    return parameters, buffers, modes, hooks, rng


def _bytes(tensor: torch.Tensor) -> bytes:
    """Of any type, bfloat16 included."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


class Interruption(Exception):
    """What the contract raises inside a forward pass."""


def _fails_midway(instrument: Instrument, model: nn.Module, data: Dataset, before: tuple) -> None:
    for stop in (1, 2, 5):
        network = Network(model, data.inputs[:2])
        assert network.sites is not None
        network.forward = _failing(network.forward, stop)
        with contextlib.suppress(Interruption):
            instrument.measure(network, data, seed=3)
        assert model_state(model) == before, f"{instrument.name}: a failure midway left the model changed"


def _failing(forward: Callable, stop: int) -> Callable:
    calls = 0

    def wrapped(inputs):
        nonlocal calls
        calls += 1
        if calls >= stop:
            raise Interruption
        return forward(inputs)

    return wrapped


def _described(instrument: Instrument) -> None:
    kind = type(instrument)
    parameters = getattr(kind, "__dataclass_params__", None)
    assert parameters is not None and parameters.frozen, f"{kind.__name__} is not a frozen dataclass"
    assert instrument.question.endswith("?"), f"{instrument.name}: the question has no question mark"
    assert instrument.source and instrument.expense, f"{instrument.name}: no source or no expense"
    assert instrument.needs <= NEEDS, f"{instrument.name}: unknown needs {set(instrument.needs - NEEDS)}"


def _agree(
    a: Reading, b: Reading, message: str, *, relative: float = LOOSE["relative"], absolute: float = LOOSE["absolute"]
):
    for mine, other in zip(a.figures, b.figures, strict=True):
        assert mine.name == other.name, message
        same = math.isclose(mine.value, other.value, rel_tol=relative, abs_tol=absolute)
        assert same or (math.isnan(mine.value) and math.isnan(other.value)), (
            f"{message}: {mine.name} {mine.value} and {other.value}"
        )


def _complete(instrument: Instrument, reading: Reading) -> None:
    assert reading.figures, f"{instrument.name}: no figures and not unsupported"
    for figure in reading.figures:
        if figure.low is not None and figure.high is not None and not math.isnan(figure.low):
            inside = figure.low - 1e-9 <= figure.value <= figure.high + 1e-9 or math.isnan(figure.value)
            assert inside, f"{instrument.name}: {figure.name} lies outside its own interval"
    for name, variable in reading.values.data_vars.items():
        missing = {"unit", "long_name", "kind"} - set(variable.attrs)
        assert not missing, f"{instrument.name}: variable {name} lacks {missing}"
        kinds = ("exact", "lower_bound", "upper_bound", "estimate")
        assert variable.attrs["kind"] in kinds, f"{instrument.name}: variable {name} has kind {variable.attrs['kind']}"
    assert reading.cost.forward_passes > 0, f"{instrument.name}: no forward pass was counted"


def _survives_a_file(instrument: Instrument, reading: Reading) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = reading.save(Path(folder) / "reading")
        assert Reading.load(path).identical(reading), f"{instrument.name}: the reading changed in its file"


def _refuses_nan(instrument: Instrument, model: nn.Module, data: Dataset) -> None:
    if not data.inputs.is_floating_point():
        return
    spoiled = data.inputs.clone()
    spoiled[1] = float("nan")
    try:
        instrument.measure(Network(model, data.inputs[:2]), dataclasses.replace(data, inputs=spoiled))
    except CutawayError:
        return
    raise AssertionError(f"{instrument.name}: inputs with NaN were accepted")
