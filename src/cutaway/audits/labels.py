"""Audit `label-filter`: may one train on labels that a model made, after this filter."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cutaway import seeds
from cutaway.audits.table_audit import TableAudit
from cutaway.errors import InputError
from cutaway.outputs.groups import simultaneous_intervals
from cutaway.outputs.label_filter import FilterCounts, break_even, class_leads, filter_margin
from cutaway.reading import Reading
from cutaway.reading.intervals import proportion_interval
from cutaway.reading.table import Table
from cutaway.settings import at_least, check_settings
from cutaway.status import Status
from cutaway.wording import said

SAFE, UNSAFE = "safe", "unsafe"


@dataclass(frozen=True, kw_only=True)
class LabelAudit(TableAudit):
    """Rates at which a filter keeps right and wrong labels, the share of wrong labels at which it breaks even, and how
    far the share at hand is from it.

    Of audited rows, drawn at random from all generated ones: p, phi and psi with Clopper-Pearson intervals; p* = phi /
    (phi + psi) where all wrong labels of a class agree (the worst case) and phi / (phi + psi / (C - 1)) where they are
    spread evenly; p* - p with Newcombe's interval. The verdict rests on the rows kept: p < p* says that right ones
    outnumber wrong ones, which their exact interval tells too; where both labels of a row are known, that the right
    label outnumbers every wrong one in every class. The null keeps as many rows at random. Estimates. Source: Feng et
    al. 2024; the forms for C classes are ours.
    """

    draws: int = field(default=999, metadata=at_least(0, "filters that keep at random, for the null"))

    name: ClassVar[str] = "label-filter"
    question: ClassVar[str] = "Can I train on these labels after this filter?"
    source: ClassVar[str] = "Feng et al. 2024, arXiv 2406.07515"
    null: ClassVar[str] = "random-filter"
    limits: ClassVar[str] = (
        "One round only: labels made again and again drift to what the filter likes. Right and wrong must be the "
        "auditor's own finding: one who shares the generator's errors sees none. Train beside a random subset of the "
        "same size before you believe that the filter, and not the fewer rows, did it."
    )

    def measure(
        self,
        right: Any,
        kept: Any,
        *,
        classes: Sequence[Any] | None = None,
        labels: Sequence[Any] | None = None,
        num_classes: int | None = None,
        data: str = "table",
        seed: int = 0,
    ) -> Reading:
        """Audit rows `right` (n,) and `kept` (n,), booleans; `classes` (n,), the true class of a row, and `labels`
        (n,), the label it was given, where they are known.

        `num_classes`: C; by default the classes seen, 2 where there are none. Raises `InputError` for one row, columns
        of other lengths, nothing kept, and fewer classes than there are.
        """
        began = time.perf_counter()
        check_settings(self)
        right, kept = np.asarray(right, dtype=bool), np.asarray(kept, dtype=bool)
        columns: dict[str, Any] = {"right": right, "kept": kept}
        columns |= {k: np.asarray(v, dtype=str) for k, v in (("class", classes), ("label", labels)) if v is not None}
        seen = np.unique(np.concatenate([columns[k] for k in ("class", "label") if k in columns] or [np.zeros(0, str)]))
        count = num_classes if num_classes is not None else max(len(seen), 2)
        _check(columns, len(seen), count)
        counts = FilterCounts.of(right, kept)
        table = Table(seed=seed)
        _whole(table, counts, count)
        if "class" in columns:
            _by_class(table, columns, count)
        if "class" in columns and "label" in columns:
            _leads(table, columns)
        draws = _at_random(counts, self.draws, seed) if self.draws else None
        status = Status.ESTIMATE if counts.wrong and counts.right else Status.UNKNOWN
        return self._reading(table, columns, data=data, seed=seed, began=began, draws=draws, status=status)

    def verdict(self, reading: Reading) -> str:
        """`safe` where right kept labels outnumber wrong ones in the worst case, overall and in every class, beyond the
        intervals; `unsafe` where in some class, or overall, they are outnumbered however the wrong ones lie; `unknown`
        between, and without a wrong row in the audit."""
        values = reading.values
        margin, share = reading.figure("margin"), reading.figure("right_share_kept")
        if not np.isfinite(margin.value) or margin.low is None or share.low is None or share.high is None:
            return Status.UNKNOWN.value
        if "lead_low" in values:
            low, high = values["lead_low"].values, values["lead_high"].values
            return SAFE if (low > 0.5).all() else UNSAFE if (high < 0.5).any() else Status.UNKNOWN.value
        fewest = 1 / float(values["num_classes"])
        spread = reading.figure("margin_spread" if fewest < 0.5 else "margin")
        safe = [margin.low > 0, share.low > 0.5]
        unsafe = [bool(share.high < fewest and spread.high is not None and spread.high < 0)]
        if "class_right_share_low" in values:
            low, high = values["class_right_share_low"].values, values["class_right_share_high"].values
            safe += (low > 0.5).tolist()
            unsafe += (high < fewest).tolist()
        return SAFE if all(safe) else UNSAFE if any(unsafe) else Status.UNKNOWN.value

    def describe(self, reading: Reading) -> list[str]:
        values, found = reading.values, self.verdict(reading)
        wrong, margin = reading.figure("wrong_share"), reading.figure("margin")
        even, share, kept = (reading.figure(n) for n in ("break_even", "right_share_kept", "kept_share"))
        rows = reading.coverage.samples
        told = [_sentence(reading, found)]
        kinds = {"keep_right": "right", "keep_wrong": "wrong"}
        known = {kind: reading.figure(name) for name, kind in kinds.items() if np.isfinite(reading.figure(name).value)}
        keeps = " and ".join(f"{_band(figure)} of the {kind} ones" for kind, figure in known.items())
        told.append(
            f"Of {rows} audited labels {_band(wrong)} are wrong; the filter keeps {keeps}, {_band(kept)} of all."
        )
        if np.isfinite(even.value):
            text = f"It breaks even at {_band(even)} wrong labels where wrong ones of a class agree"
            if float(values["num_classes"]) > 2:
                text += f", at {_band(reading.figure('break_even_spread'))} where they are spread over the classes"
            told.append(f"{text}; p* - p is {_band(margin, '.2f')} in the worst case.")
        if even.null_median is not None:
            chance = said(even.null_median, ".0%")
            told.append(f"A filter that keeps at random breaks even at {chance} (p = {even.p_value:.2g}).")
        if "lead" in values:
            lead = values["lead"].values
            worst = int(np.nan_to_num(lead, nan=-1.0).argmin())
            text = f"Class {values['class'].values[worst]} is closest: "
            some = f"of its kept rows with the right or the commonest wrong label {said(float(lead[worst]), '.0%')}"
            told.append(
                text + (f"{some} have the right one." if np.isfinite(lead[worst]) else "none of its rows is kept.")
            )
        text = f"Of the kept labels {_band(share)} are right."
        told.append(f"{text} Train a random subset of {kept.value:.0%} of the rows beside it.")
        return told

    def more(self, reading: Reading) -> dict[str, Any]:
        """`classes`: the figures of every class, where there are any."""
        values = reading.values
        if "class" not in values.coords:
            return {}
        columns = [str(v) for v in values.data_vars if values[v].dims == ("class",)]
        rows = [
            {"class": str(name), **{c.removeprefix("class_"): float(values[c].values[k]) for c in columns}}
            for k, name in enumerate(values["class"].values)
        ]
        return {"classes": rows}

    def draw(self, reading: Reading) -> Any:
        from cutaway.pictures.table_audits import break_even_chart

        return break_even_chart(reading)


def _sentence(reading: Reading, found: str) -> str:
    margin, share, values = reading.figure("margin"), reading.figure("right_share_kept"), reading.values
    if not np.isfinite(margin.value):
        which = "wrong" if reading.figure("wrong_share").value == 0 else "right"
        text = f"no {which} row was audited, so the rate at which the filter keeps such rows is not known"
        return f"{text}; audit more rows."
    if found == SAFE:
        every = " in every class" if "class" in values.coords else ""
        return f"after this filter right labels outnumber wrong ones{every}, beyond what the audited rows leave open."
    if found == UNSAFE:
        where = _cells(values, above=False)
        text = "of the kept labels a wrong one is commoner than the right one"
        return f"{text}{f' in class {where}' if where else ', however they lie'}: training follows it."
    if (margin.low or 0) > 0 and (share.low or 0) > 0.5 and (where := _cells(values, above=True)):
        text = "right kept labels outnumber wrong ones overall, but"
        return f"{text} not beyond the interval in class {where}; audit more of its rows."
    text = f"the audited rows leave p* - p between {margin.low:.2f} and {margin.high:.2f} in the worst case"
    if float(values["num_classes"]) > 2 and "lead" not in values and (reading.figure("margin_spread").low or 0) > 0:
        return f"{text}; with wrong labels spread over the classes it is safe: audit which they are (label, truth)."
    return f"{text}; audit more rows."


def _cells(values: Any, *, above: bool) -> str:
    """Classes that are not known to be safe (`above`), or known to be unsafe."""
    name = "lead" if "lead" in values else "class_right_share"
    if f"{name}_low" not in values:
        return ""
    low, high = values[f"{name}_low"].values, values[f"{name}_high"].values
    fewest = 0.5 if name == "lead" else 1 / float(values["num_classes"])
    odd = values["class"].values[~(low > 0.5) if above else high < fewest]
    return ", ".join(map(str, odd[:5])) + (f" and {len(odd) - 5} more" if len(odd) > 5 else "")


def _band(figure: Any, form: str = ".0%") -> str:
    if figure.low is None or not np.isfinite(figure.low):
        return said(figure.value, form)
    return f"{said(figure.value, form)} ({said(figure.low, form)} to {said(figure.high, form)})"


def _check(columns: dict[str, Any], seen: int, count: int) -> None:
    rows = len(columns["right"])
    odd = [f"{name} {len(v)}" for name, v in columns.items() if v.shape != (rows,)]
    if odd:
        raise InputError(
            "columns of the audited table",
            found=f"right {rows}, {', '.join(odd)} rows",
            expected="one length",
            remedy="give one value a row",
        )
    if rows < 2:
        raise InputError(
            "audited table",
            found=f"{rows} audited row" + "s" * (rows != 1),
            expected="at least two rows, better 200: p* is then known within about 0.1",
            remedy="look at more generated labels, drawn at random",
        )
    if count < max(2, seen):
        raise InputError(
            "number of classes",
            found=f"{count}",
            expected=f"at least {max(2, seen)}, the classes in the table",
            remedy="leave it out, or give the number of classes that there are",
        )
    if not columns["kept"].any():
        raise InputError(
            "audited table",
            found="no row that the filter keeps",
            expected="rows kept and rows dropped, as the filter leaves them",
            remedy="audit a random sample of all generated rows, with what the filter says of each",
        )


def _whole(table: Table, counts: FilterCounts, num_classes: int) -> None:
    table.keep("num_classes", num_classes, long_name="classes", kind="exact")

    def rate(name: str, hits: int, of: int, words: str, alternative: Any = "none") -> None:
        value = hits / of if of else float("nan")
        table.figure(name, value, proportion_interval(hits, of), long_name=words, alternative=alternative)

    rate("wrong_share", counts.wrong, counts.rows, "share of generated labels that are wrong, p")
    rate("keep_right", counts.right_kept, counts.right, "share of right labels that the filter keeps, phi")
    rate("keep_wrong", counts.wrong_kept, counts.wrong, "share of wrong labels that the filter keeps, psi")
    worst = filter_margin(counts)
    words = "share of wrong labels at which the filter breaks even, p*, wrong labels of a class agreeing"
    table.figure("break_even", worst.even, worst.even_band, long_name=words, alternative="greater")
    words = "p* - p, wrong labels of a class agreeing"
    table.figure("margin", worst.margin, worst.margin_band, long_name=words, alternative="greater")
    if num_classes > 2:
        spread = filter_margin(counts, num_classes)
        words = f"p*, wrong labels spread over {num_classes - 1} classes"
        table.figure("break_even_spread", spread.even, spread.even_band, long_name=words, alternative="greater")
        words = f"p* - p, wrong labels spread over {num_classes - 1} classes"
        table.figure("margin_spread", spread.margin, spread.margin_band, long_name=words, alternative="greater")
    rate("kept_share", counts.kept, counts.rows, "share of all labels that the filter keeps")
    rate("right_share_kept", counts.right_kept, counts.kept, "share of kept labels that are right", "greater")


def _by_class(table: Table, columns: dict[str, Any], num_classes: int) -> None:
    """The same within each true class; intervals of all classes hold at once."""
    names = np.unique(columns["class"])
    table.coordinate("class", names)
    cells = [FilterCounts.of(columns["right"][m], columns["kept"][m]) for m in (columns["class"] == n for n in names)]
    level = 1 - 0.05 / len(cells)
    kept, right = (np.array([getattr(c, k) for c in cells]) for k in ("kept", "right_kept"))
    bands = simultaneous_intervals(right, kept)
    with np.errstate(invalid="ignore", divide="ignore"):
        table.keep(
            "class_right_share", right / kept, ["class"], long_name="share of the class's kept labels that are right"
        )
    for end, side, kind in ((0, "low", "lower_bound"), (1, "high", "upper_bound")):
        words = f"its interval's {side} end, for all classes at once"
        table.keep(
            f"class_right_share_{side}", np.nan_to_num(bands[:, end], nan=end), ["class"], long_name=words, kind=kind
        )
    table.keep("class_rows", [c.rows for c in cells], ["class"], unit="samples", long_name="audited rows", kind="exact")
    table.keep("class_kept", kept, ["class"], unit="samples", long_name="rows kept", kind="exact")
    table.keep(
        "class_wrong_share", [c.wrong / c.rows for c in cells], ["class"], long_name="share of labels that are wrong, p"
    )
    table.keep("class_keep_right", [_of(c.right_kept, c.right) for c in cells], ["class"], long_name="phi")
    table.keep("class_keep_wrong", [_of(c.wrong_kept, c.wrong) for c in cells], ["class"], long_name="psi")
    margins = [filter_margin(c, level=level) for c in cells]
    table.keep("class_break_even", [m.even for m in margins], ["class"], long_name="p*, wrong labels agreeing")
    table.keep("class_margin", [m.margin for m in margins], ["class"], long_name="p* - p, wrong labels agreeing")
    table.keep(
        "class_margin_low",
        [m.margin_band[0] for m in margins],
        ["class"],
        long_name="its lower end, all classes at once",
    )
    table.keep(
        "class_margin_high",
        [m.margin_band[1] for m in margins],
        ["class"],
        long_name="its upper end, all classes at once",
    )
    if num_classes > 2:
        spread = [c.even(num_classes) for c in cells]
        table.keep("class_break_even_spread", spread, ["class"], long_name="p*, wrong labels spread")


def _of(hits: int, count: int) -> float:
    return hits / count if count else float("nan")


def _leads(table: Table, columns: dict[str, Any]) -> None:
    """By true class: how far the right label leads among kept rows."""
    found = class_leads(columns["class"], columns["label"], columns["kept"])
    for name, values, words in (
        ("lead", found.lead, "kept right rows among these and those of the commonest wrong label"),
        ("lead_low", found.low, "its lower end, all classes and labels at once"),
        ("lead_high", found.high, "its upper end, all classes and labels at once"),
    ):
        table.keep(name, values, ["class"], long_name=words)


def _at_random(counts: FilterCounts, draws: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """Break-even, margin and right share of filters that keep as many rows at random."""
    rng = np.random.default_rng(seeds.stream(seed, "random filter"))
    right = rng.hypergeometric(counts.right, counts.wrong, counts.kept, draws)
    if not (counts.right and counts.wrong):
        return {}
    evens = np.array([break_even(r / counts.right, (counts.kept - r) / counts.wrong) for r in right])
    return {"break_even": evens, "margin": evens - counts.wrong / counts.rows, "right_share_kept": right / counts.kept}
