"""A hold-out that can be asked many times: answers that stay near the truth although questions depend on answers.

    with Holdout(sandbox, held_out, "runs/holdout", budget=50) as holdout:
        answer = holdout.ask(Accuracy(), network)       # answer.value, answer.spent, answer.left

A question is a mean phi over rows of numbers in [0, 1]. With phi(S) on the sandbox and phi(H) on the held-out rows, T
the threshold and sigma the tolerance, Thresholdout answers phi(S) as long as |phi(H) - phi(S)| <= T' + Lap(4 sigma),
with T' = T + Lap(2 sigma); else it spends one unit of the budget, draws T' anew and answers phi(H) + Lap(sigma),
rounded to a multiple of sigma. Source: Dwork et al. 2015 (Science 349; arXiv 1506.02629, figure 1); the rounding is
ours, so that an answer tells finitely much and `guaranteed_questions` is exact.
"""

from __future__ import annotations

import math
import secrets
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from cutaway import seeds
from cutaway.errors import BudgetError, CutawayWarning, InputError
from cutaway.evidence.looks import LookLog

if TYPE_CHECKING:
    from cutaway.data import Dataset
    from cutaway.instrument import Instrument
    from cutaway.network import Network

FEWEST = 100  # held-out rows
CERTAIN = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer. `value`: what may be believed; `spent`: whether it took a unit of the budget, because sandbox and
    held-out rows differed; `left`: units left (None: no budget); `looks`: how often the rows were asked, this time
    included."""

    value: float
    spent: bool
    left: int | None
    looks: int


class Holdout:
    """The held-out rows `holdout` behind Thresholdout, with a log in `folder` that survives restarts and that other
    processes share.

    sandbox   : rows of the same distribution to compare with, best not those that the networks were trained on: where
                a network is always right on them every question spends.
    budget    : how many answers may come from the held-out rows (None, for the variant "science" alone: no bound).
    threshold, tolerance : T and sigma, in units of the mean; by default 4 / sqrt(n) and 1 / sqrt(n).
    variant   : "laplace" as above; "science": Gaussian noise of size sigma, T as it is, no budget needed.
    seed      : of the noise; by default drawn once and kept in the log, so that nobody can repeat a question's noise.

    Raises `InputError` for fewer than 100 rows, rows that both sets share, a log of other rows or settings. Cost: two
    measurements a question.
    """

    def __init__(
        self,
        sandbox: Dataset,
        holdout: Dataset,
        folder: str | Path,
        *,
        budget: int | None = 50,
        threshold: float | None = None,
        tolerance: float | None = None,
        variant: str = "laplace",
        seed: int | None = None,
    ) -> None:
        _check_sets(sandbox, holdout)
        size = 1 / math.sqrt(len(holdout))
        threshold, tolerance = 4 * size if threshold is None else threshold, size if tolerance is None else tolerance
        _check_settings(budget, threshold, tolerance, variant)
        self.sandbox, self._holdout = sandbox, holdout
        self.budget, self.threshold, self.tolerance, self.variant = budget, threshold, tolerance, variant
        settings = {"budget": budget, "threshold": threshold, "tolerance": tolerance, "variant": variant}
        self.log = LookLog(folder, holdout, settings)
        drawn = [e["seed"] for e in self.log.entries() if "seed" in e]
        self._seed = drawn[0] if drawn else secrets.randbits(62) if seed is None else seed
        self._open = False

    def __enter__(self) -> Self:
        self._open = True
        return self

    def __exit__(self, *error: object) -> None:
        self._open = False

    @property
    def questions(self) -> int:
        """For how many questions the guarantee holds: all held-out means within `threshold` of the truth, with
        probability .95; see `guaranteed_questions`."""
        if self.budget is None:
            return 0
        return guaranteed_questions(len(self._holdout), self.budget, self.threshold, self.tolerance)

    def ask(self, instrument: Instrument, network: Network, figure: str = "") -> Answer:
        """The figure (by default the one called as the instrument) of `network`, if it is a mean over samples of
        numbers in [0, 1]: a variable of that name and a number a row. Raises `InputError` otherwise (AUROC, F1 and
        calibration errors have no guarantee), `BudgetError` where the budget is spent. Cost: two measurements. An
        estimate, with noise of the stated size. Source: Dwork et al. 2015 (arXiv 1506.02629)."""
        name = figure or instrument.name.replace("-", "_")
        readings = [instrument.measure(network, d, intervals=False) for d in (self.sandbox, self._holdout)]
        values = [_rows_behind(reading, name) for reading in readings]
        return self.ask_values(f"{instrument.name}/{name}", *values)

    def ask_values(self, what: str, sandbox: Any, holdout: Any) -> Answer:
        """The mean of numbers in [0, 1], one for each row of the sandbox (n,) and of the held-out rows (m,), computed
        by the caller, who should not look at them. Raises `InputError` and
        `BudgetError` as `ask`."""
        if not self._open:
            raise InputError(
                "hold-out",
                found="a question outside its context",
                expected="with Holdout(...) as holdout: holdout.ask(...)",
                remedy="ask inside the with block: every look must be counted",
            )
        pair = [_mean(v, len(d), what) for v, d in ((sandbox, self.sandbox), (holdout, self._holdout))]
        if pair[0] in (0.0, 1.0) and abs(pair[0] - pair[1]) > self.threshold:
            told = "a sandbox on which the answer is always the same, as where networks were trained on it"
            warning = CutawayWarning(
                what,
                found=told,
                expected="rows that no network has seen",
                remedy="split off a sandbox: each such question spends",
            )
            warnings.warn(warning, stacklevel=3)
        entry = self.log.look(what, lambda before: self._decide(what, pair[0], pair[1], before))
        left = None if self.budget is None else self.budget - entry["spends"]
        return Answer(value=entry["answer"], spent=entry["spent"], left=left, looks=entry["look"])

    def _decide(self, what: str, train: float, held: float, before: tuple[dict[str, Any], ...]) -> dict[str, Any]:
        spends = before[-1]["spends"] if before else 0
        if self.budget is not None and spends >= self.budget:
            raise BudgetError(
                what,
                found=f"a budget of {self.budget} that is spent, after {len(before)} questions",
                expected="units left for another answer from the held-out rows",
                remedy="collect fresh held-out rows and begin a new log: these can tell nothing more that is safe",
            )
        noise = _noise(self._seed, len(before), spends, self.variant)
        value, spent = thresholdout(train, held, self.threshold, self.tolerance, noise, rounded=True)
        kept = {"answer": value, "spent": spent, "spends": spends + spent}
        return kept if before else {**kept, "seed": self._seed}


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldoutNoise:
    """Draws for one question, in units of the tolerance: on the threshold, on the comparison, on the answer."""

    threshold: float
    comparison: float
    answer: float


def thresholdout(
    train: float, held: float, threshold: float, tolerance: float, noise: HoldoutNoise, *, rounded: bool = False
) -> tuple[float, bool]:
    """The answer, and whether it came from the held-out rows: `train` where |held - train| is at most threshold +
    tolerance (noise.threshold + noise.comparison), else held + tolerance noise.answer, `rounded` to a multiple of the
    tolerance. Exact arithmetic on the draws. Source: see the head of this file."""
    limit = threshold + tolerance * (noise.threshold + noise.comparison)
    if abs(held - train) <= limit:
        return float(train), False
    value = held + tolerance * noise.answer
    return float(tolerance * round(value / tolerance) if rounded else value), True


def guaranteed_questions(rows: int, budget: int, width: float, grid: float, failure: float = 0.05) -> int:
    """The largest number m of questions for which, with probability 1 - `failure`, every mean over `rows` held-out rows
    is within `width` of the truth, however the questions depend on the answers; 0 where not even one is.

    Given the noise, what was answered is told by which at most B = `budget` questions spent and by their rounded
    answers, so at most N = m sum_(i <= B) C(m, i) (2 + 1 / grid)^i questions can be asked at all, and by Hoeffding
    width = sqrt(ln(2 N / failure) / (2 rows)) serves all of them. Exact arithmetic of a bound that is not tight.
    Derived here, after the description length of Dwork et al. 2015 (arXiv 1506.02629, section 4). Cost: milliseconds.

    >>> guaranteed_questions(4000, 0, 0.04, 0.01) > guaranteed_questions(4000, 1, 0.04, 0.01) > 0
    True
    """
    room = 2 * rows * width**2 - math.log(2 / failure)

    def fits(m: int) -> bool:
        steps = math.log(2 + 1 / grid)
        terms = [
            math.lgamma(m + 1) - math.lgamma(i + 1) - math.lgamma(m - i + 1) + i * steps
            for i in range(min(budget, m) + 1)
        ]
        return math.log(m) + float(np.logaddexp.reduce(terms)) <= room

    if not fits(1):
        return 0
    low, high = 1, 2
    while fits(high) and high < 10**15:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _noise(seed: int, question: int, spends: int, variant: str) -> HoldoutNoise:
    """Of this question alone; the threshold's is the same until a unit is spent."""
    rng = np.random.default_rng(seeds.stream(seed, "holdout", question))
    if variant == "science":
        return HoldoutNoise(threshold=0.0, comparison=float(rng.normal()), answer=float(rng.normal()))
    threshold = np.random.default_rng(seeds.stream(seed, "threshold", spends)).laplace(scale=2)
    return HoldoutNoise(threshold=float(threshold), comparison=float(rng.laplace(scale=4)), answer=float(rng.laplace()))


def _rows_behind(reading: Any, name: str) -> NDArray[np.float64]:
    """The numbers whose mean the figure is."""
    value = reading.figure(name).value
    column = reading.values.get(name)
    if column is None or column.dims != ("sample",) or abs(float(column.mean()) - value) > 1e-9 * max(1, abs(value)):
        raise InputError(
            f"figure {name!r} of instrument {reading.instrument!r}",
            found="no mean over samples (of what is no mean, as AUROC, F1 or a calibration error, nothing is promised)",
            expected="a figure with a number in [0, 1] behind it for every row",
            remedy="ask for one, accuracy for instance, or give the numbers yourself with ask_values",
        )
    return np.asarray(column.values, dtype=np.float64)


def _mean(values: Any, rows: int, what: str) -> float:
    values = np.asarray(values, dtype=np.float64)
    if (
        values.shape != (rows,)
        or not np.isfinite(values).all()
        or values.min() < -CERTAIN
        or values.max() > 1 + CERTAIN
    ):
        span = f" from {np.nanmin(values):.4g} to {np.nanmax(values):.4g}" if values.size else ""
        raise InputError(
            f"question {what!r}",
            found=f"numbers of shape {values.shape}{span}",
            expected=f"{rows} finite numbers in [0, 1]",
            remedy="rescale them, or clip them: the guarantee is for bounded means",
        )
    return float(values.mean())


def _check_sets(sandbox: Dataset, holdout: Dataset) -> None:
    if len(holdout) < FEWEST or len(sandbox) < FEWEST:
        raise InputError(
            f"hold-out {holdout.name!r}",
            found=f"{len(sandbox)} and {len(holdout)} rows",
            expected=f"at least {FEWEST} in the sandbox and in the hold-out",
            remedy="hold more rows out",
        )
    rows = [{row.tobytes() for row in d.inputs.detach().cpu().float().flatten(1).numpy()} for d in (sandbox, holdout)]
    if shared := len(rows[0] & rows[1]):
        raise InputError(
            f"hold-out {holdout.name!r}",
            found=f"{shared} rows that the sandbox has as well",
            expected="no row in both",
            remedy="split them before, without duplicates",
        )


def _check_settings(budget: int | None, threshold: float, tolerance: float, variant: str) -> None:
    wrong = ""
    if variant not in ("laplace", "science"):
        wrong = f"variant {variant!r}"
    elif not (0 < tolerance < 1 and 0 < threshold < 1):
        wrong = f"threshold {threshold:g}, tolerance {tolerance:g}"
    elif (budget is None and variant == "laplace") or (budget is not None and budget < 1):
        wrong = f"budget {budget}"
    if wrong:
        raise InputError(
            "hold-out",
            found=wrong,
            expected="laplace (with a budget of at least 1) or science; threshold and tolerance between 0 and 1",
            remedy="leave them at their defaults",
        )
