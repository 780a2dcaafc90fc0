"""`RowWatch`: scores of every training row, taken from the passes that the training makes anyway.

    watch = RowWatch(train)
    with Tracker([], EveryN(100), "runs/mine", data=train.first(1), callbacks=[watch]) as tracker:
        tracker.step(model, 0)  # before the first pass, so that this one is seen
        for step, rows in ...:
            ...  # one step of your own loop on train.inputs[rows]
            tracker.step(model, step, examples=rows)
    watch.table()  # also runs/mine/example_scores.csv

It stands alone as well: `train(model, data, settings, tracker=watch)` of `cutaway.training`.
"""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from cutaway.errors import CutawayWarning, InputError
from cutaway.files import atomic
from cutaway.network.outputs import first_tensor
from cutaway.outputs.example_scores import ExampleScores
from cutaway.training import told

if TYPE_CHECKING:
    import pandas
    from torch.utils.hooks import RemovableHandle

    from cutaway.data import Dataset

Pass = tuple[Tensor, Tensor | None, bool]
"""Outputs, what went into the last layer (None where there is none), whether that has a bias."""

FILE = "example_scores.csv"
"""The table of a run, in its folder."""


class RowWatch:
    """Watches the forward passes of a model in training and scores the rows of `data` by them.

    What counts is the last pass in training mode before each `step` (of several that make up its rows: all of them), so
    under an adversary it is the attacked batch that is scored. `early`: see `ExampleScores`. The last layer's gradient
    is scored where a last `nn.Linear` gives the model's outputs. Weights, gradients and random streams stay as they
    are; the two forward hooks go at `close`. Cost: no pass; a softmax and a few sums of the batch's outputs. Raises
    `InputError` for data without labels, and at a step for rows that no pass was made on.
    """

    name = "example-scores"

    def __init__(self, data: Dataset, *, early: int | None = None) -> None:
        if data.labels is None:
            raise InputError(
                f"data set {data.name!r}",
                found="no labels",
                expected="labels to score rows by",
                remedy="give labelled data",
            )
        self.scores = ExampleScores(data.labels, early=early)
        self._model: Any = lambda: None
        self._handles: list[RemovableHandle] = []
        self._passes: list[Pass] = []
        self._last: tuple[Tensor, Tensor, bool] | None = None
        self._begun = False

    def step(self, model: nn.Module, step: int, *, examples: Any = None, **_told: Any) -> None:
        """`step` is done, on the rows `examples`; at the first call the model is begun to be watched."""
        model = told.unwrapped(model)
        passes, self._passes = self._passes, []
        if self._model() is not model:
            self._watch(model, step, examples)
        elif examples is not None:
            self._score(step, examples, passes)

    def table(self) -> pandas.DataFrame:
        """One row a training row; see `ExampleScores.table`."""
        return self.scores.table()

    def save(self, folder: str | Path) -> Path:
        """Write the table into `folder`, whole or not at all. Raises `FileError`."""
        path = Path(folder) / FILE
        with atomic(path) as temporary:
            self.table().to_csv(temporary, float_format="%.9g")
        return path

    def close(self) -> None:
        """Take the hooks off the model; twice does nothing."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._model = [], lambda: None

    def _watch(self, model: nn.Module, step: int, examples: Any) -> None:
        self.close()
        if not self._begun and (step > 0 or examples is not None):
            told.warn(
                CutawayWarning(
                    f"the example scores begin after step {step}",
                    found="steps before it that were not seen",
                    remedy="call step(model, 0) before the first pass; a training that goes on begins a new table",
                )
            )
        self._begun, self._model = True, weakref.ref(model)
        last = next((m for m in reversed(list(model.modules())) if type(m) is nn.Linear), None)
        if last is not None:
            self._handles.append(last.register_forward_hook(self._saw_last))
        self._handles.append(model.register_forward_hook(self._saw))

    def _saw_last(self, layer: Any, given: tuple[Any, ...], output: Tensor) -> None:
        self._last = (given[0].detach(), output, layer.bias is not None)

    def _saw(self, model: nn.Module, _given: Any, output: Any) -> None:
        if not model.training:
            return
        outputs, last, self._last = first_tensor(output), self._last, None
        hidden, bias = (last[0], last[2]) if last is not None and last[1] is outputs else (None, False)
        self._passes.append((outputs.detach(), hidden, bias))

    def _score(self, step: int, examples: Any, passes: list[Pass]) -> None:
        count = len(examples)
        fitting = [p for p in passes if len(p[0]) == count][-1:]
        if not fitting and sum(len(p[0]) for p in passes) == count:
            fitting = passes  # gradients of several passes were added up
        if not fitting:
            raise InputError(
                f"examples of step {step}",
                found=f"{count} rows; passes in training mode on {[len(p[0]) for p in passes][-4:]} rows",
                expected="the rows of the last pass",
                remedy="call the model itself, in training mode, and tell the rows of that batch in its order",
            )
        at = 0
        for outputs, hidden, bias in fitting:
            self.scores.see(step, examples[at : at + len(outputs)], outputs, hidden, bias=bias)
            at += len(outputs)
