"""Audit `generations`: how does the error grow where a model is trained on its own outputs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cutaway import seeds
from cutaway.audits.table_audit import TableAudit
from cutaway.dynamics.growth import GrowthFit, fit_growth
from cutaway.reading import Reading
from cutaway.reading.table import Table
from cutaway.settings import at_least, check_settings
from cutaway.status import Status
from cutaway.wording import said

RATIO = 20.0
"""How many times less likely than the nearest form one has to be to be left aside."""

WIDER = {"flat": ("linear", "power", "saturating", "floor"), "linear": ("power", "saturating"), "power": ("floor",)}
"""Form -> forms of which it is a special case: these fit as well, and their parameters say whether they differ."""

MEANS = {
    "flat": "the error does not change",
    "linear": "the error grows by the same amount every generation",
    "power": "the error follows a power law",
    "saturating": "the error approaches a ceiling exponentially fast",
    "floor": "the error follows a power law down to a floor that more rows do not pass",
}


@dataclass(frozen=True, kw_only=True)
class GenerationAudit(TableAudit):
    """Which form a measured error follows from generation to generation (or, with rows in place of generations, along a
    learning curve), with its parameters and intervals.

    Generations n: flat a, linear a + b n, power a + b n^c, saturating a + b (1 - r^n). Rows T: flat a, power b T^-c,
    floor a + b T^-c. All are fitted by least squares; weights are Akaike's for few points. The simplest form that is
    not 20 times less likely than the nearest one is named. It wins where all others that are as near contain it, and
    these say nothing else: for flat, that the error cannot have doubled; for linear, an exponent between one half and
    three halves. The null puts the errors in random order. Estimates. Source: forms of Dohmatob et al. 2024; the choice
    is ours.
    """

    draws: int = field(default=499, metadata=at_least(19, "times that the errors are put in random order"))

    name: ClassVar[str] = "generations"
    question: ClassVar[str] = "What happens if I keep training on my own outputs?"
    source: ClassVar[str] = "Dohmatob et al. 2024, arXiv 2402.07712 and 2402.07043"
    null: ClassVar[str] = "permuted-generations"
    limits: ClassVar[str] = (
        "The forms are those of regression and of a memory; another model may follow none. Beyond the last generation "
        "measured nothing is known. Error and accuracy need not agree. Refits on fresh labels of the same size are the "
        "control: give them in the column fresh."
    )

    def measure(
        self, places: Any, errors: Any, *, rows: bool = False, fresh: Any = None, data: str = "table", seed: int = 0
    ) -> Reading:
        """Audit `errors` (n,) at generations `places` (n,), or at numbers of rows where `rows` says so; `fresh` (n,),
        errors of refits on fresh labels at the same places, a control.

        Raises `InputError` as `fit_growth`.
        """
        began = time.perf_counter()
        check_settings(self)
        x, y = np.asarray(places, dtype=float), np.asarray(errors, dtype=float)
        fits = fit_growth(x, y, rows=rows, seed=seed)
        best = fits[_simplest({f: fit.weight for f, fit in fits.items()})]
        table = Table({"point": np.arange(len(x)), "form": list(fits)}, seed=seed)
        table.keep("by_rows", int(rows), long_name="whether places are rows", kind="exact")
        table.keep("place", x, ["point"], long_name="rows" if rows else "generation", kind="exact")
        table.keep("error", y, ["point"], long_name="error")
        table.keep("fitted", [f.fitted for f in fits.values()], ["form", "point"], long_name="error by the form")
        table.keep("weight", [f.weight for f in fits.values()], ["form"], long_name="Akaike weight")
        table.keep("residual", [f.residual for f in fits.values()], ["form"], long_name="root mean square left")
        along = "slope of log error against log rows" if rows else "error added by a generation, straight line"
        table.statistic("slope", lambda i: _slope(x[i], y[i], rows), len(x), long_name=along, alternative="greater")
        self._parameters(table, fits, best)
        if fresh is not None:
            control = np.asarray(fresh, dtype=float)
            fit_growth(x, control, rows=rows, resamples=1, seed=seed)
            words = "the same where labels are fresh"
            table.statistic("slope_fresh", lambda i: _slope(x[i], control[i], rows), len(x), long_name=words)
        rng = np.random.default_rng(seeds.stream(seed, "permuted generations"))
        draws = {"slope": np.array([_slope(x, rng.permutation(y), rows) for _ in range(self.draws)])}
        columns = {"place": x, "error": y}
        return self._reading(table, columns, data=data, seed=seed, began=began, draws=draws)

    def _parameters(self, table: Table, fits: dict[str, GrowthFit], best: GrowthFit) -> None:
        for name, value in best.parameters.items():
            band = (best.low[name], best.high[name])
            table.figure(name, value, band, alternative="none", long_name=f"{name} of the form {best.form}")
        for form, fit in fits.items():
            table.figure(
                f"weight_{form}", fit.weight, alternative="none", long_name=f"Akaike weight of the form {form}"
            )
        for form in ("linear", "power"):  # what wider forms say
            if form in fits and form != best.form:
                for name in set(fits[form].parameters) & {"b", "c"}:
                    for side, ends in (("low", fits[form].low), ("high", fits[form].high)):
                        table.keep(f"{form}_{name}_{side}", ends[name], long_name=f"{side} end of {name} of {form}")

    def verdict(self, reading: Reading) -> str:
        """The form that wins, `unknown` where two are alike likely or wider ones leave it open."""
        values = reading.values
        forms, weights = [str(f) for f in values["form"].values], values["weight"].values
        best = _simplest(dict(zip(forms, weights)))
        rivals = [w for f, w in zip(forms, weights) if f != best and f not in WIDER.get(best, ())]
        if any(RATIO * w > weights[0] for w in rivals):
            return Status.UNKNOWN.value
        if best == "linear" and "power_c_low" in values:
            low, high = float(values["power_c_low"]), float(values["power_c_high"])
            return best if low >= 0.5 and high <= 1.5 else Status.UNKNOWN.value
        if best == "flat":
            slope, span = reading.figure("slope"), float(np.ptp(values["place"].values))
            most = max(abs(slope.low or 0), abs(slope.high or 0))
            level = abs(reading.figure("a").value)
            moved = most if int(values["by_rows"]) else most * span / level if level else np.inf
            return best if moved < (0.1 if int(values["by_rows"]) else 1.0) else Status.UNKNOWN.value
        return best

    def describe(self, reading: Reading) -> list[str]:
        values, found = reading.values, self.verdict(reading)
        forms = [str(f) for f in values["form"].values]
        slope = reading.figure("slope")
        best = _simplest(dict(zip(forms, values["weight"].values)))
        if found == Status.UNKNOWN.value:
            told = [f"no form can be told; nearest is {best}: {MEANS[best]}. Measure more generations."]
        else:
            told = [f"{MEANS[found]}."]
        parameters = [f for f in reading.figures if f.name in ("a", "b", "c", "r")]
        text = ", ".join(f"{f.name} = {said(f.value)} ({said(f.low)} to {said(f.high)})" for f in parameters)
        told.append(f"{FORMULAS[int(values['by_rows'])][best]}: {text}.")
        weights = ", ".join(f"{f} {w:.2f}" for f, w in zip(forms, values["weight"].values))
        told.append(f"Weights of the forms: {weights}.")
        text = f"The {slope.called} is {said(slope.value)} ({said(slope.low)} to {said(slope.high)}); "
        told.append(f"{text}{said(slope.null_median)} with the errors in random order (p = {slope.p_value:.2g}).")
        control = next((f for f in reading.figures if f.name == "slope_fresh"), None)
        if control is not None:
            told.append(f"On fresh labels it is {said(control.value)} ({said(control.low)} to {said(control.high)}).")
        return told

    def more(self, reading: Reading) -> dict[str, Any]:
        """`form`, the one that is named, and `weights` of all."""
        values = reading.values
        weights = {str(f): float(w) for f, w in zip(values["form"].values, values["weight"].values)}
        return {"form": _simplest(weights), "weights": weights}

    def draw(self, reading: Reading) -> Any:
        from cutaway.pictures.table_audits import generations_chart

        return generations_chart(reading)


FORMULAS = (
    {"flat": "a", "linear": "a + b n", "power": "a + b n^c", "saturating": "a + b (1 - r^n)"},
    {"flat": "a", "power": "b T^-c", "floor": "a + b T^-c"},
)


def _simplest(weights: dict[str, float]) -> str:
    """The form of fewest parameters that is not 20 times less likely than the nearest."""
    return next(f for f in MEANS if f in weights and RATIO * weights[f] >= max(weights.values()))


def _slope(x: NDArray[np.float64], y: NDArray[np.float64], logs: bool) -> float:
    """Of a straight line by least squares, of logs where asked; NaN where all places are one."""
    a, b = (np.log(x), np.log(y)) if logs else (x, y)
    off = a - a.mean()
    return float(off @ b / (off @ off)) if np.ptp(a) > 0 else float("nan")
