"""What may be said of a figure beside its null: told apart, not told apart, or too few nulls to tell.

A figure of a scan is called different where its q (Benjamini and Hochberg, over all figures) is at most `CALLED`. With
B nulls no p is below 1/(B + 1), or 2/(B + 1) two-sided, so q has a floor too: where the floor lies above `CALLED`,
that the figure was not called says nothing of the network.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from cutaway.evidence.multiplicity import q_values
from cutaway.reading import Figure
from cutaway.wording import counted

CALLED = 0.1
"""False-discovery rate at which a figure is called different from its null."""

LIMIT = 10
"""Exceedances after which a figure's p-value is settled (Besag and Clifford 1991)."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Decision:
    """word: `apart`, `alike`, or `open` (too few nulls; `wanting` says how many would do)."""

    word: Literal["apart", "alike", "open"]


def decide(figures: Mapping[Key, Figure]) -> dict[Key, Decision]:
    """The decision on every figure of a scan that has a p-value. Cost: a sort of m p-values a figure."""
    tested = {key: f for key, f in figures.items() if f.p_value is not None}
    return {key: _decide(key, tested) for key in tested}


def smallest_p(figure: Figure, nulls: int) -> float:
    """The smallest p-value that `nulls` draws can give."""
    return min(1.0, sides(figure) / (nulls + 1))


def sides(figure: Figure) -> int:
    return 2 if figure.alternative == "two-sided" else 1


def reach(figures: Sequence[Figure], nulls: int) -> str:
    """What `nulls` draws can tell of these figures, in a sentence, before any are drawn."""
    tested = [f for f in figures if f.alternative != "none" and math.isfinite(f.value)]
    if not tested or nulls < 1:
        return ""
    total, single, least = len(tested), _single(tested), _least(tested)
    together = math.ceil((single + 1) / (nulls + 1) - 1e-9)
    if nulls < least:
        return (
            f"{counted(nulls, 'null')} cannot tell any of the {total} figures from its null, whatever comes out: it "
            f"takes {least} at least, and {single} to tell a single figure."
        )
    if together <= 1:
        return f"{nulls} nulls suffice to tell a single one of the {total} figures from its null."
    most = "only if all of them are" if together >= total else f"only if at least {together} of them are"
    return (
        f"With {nulls} nulls one of the {total} figures is told apart from its null {most}; "
        f"{single} nulls would tell a single one."
    )


def wanting(figures: Mapping[Key, Figure]) -> str:
    """How many nulls the open figures of a judged scan would take, in a sentence; empty where none is open.

    Two numbers: the fewest with which all of them could be called, were they beyond all nulls, if the figures that lie
    beyond theirs stay there and the rest keep their p; and what tells any one figure whatever the others do, which
    `reach` names as well. Cost: log2(20 m) sorts of m p-values for an open figure.
    """
    tested = {key: f for key, f in figures.items() if f.p_value is not None}
    unsettled = [key for key, decision in decide(tested).items() if decision.word == "open"]
    if not unsettled:
        return ""
    fewest, single = max(_fewest(key, tested) for key in unsettled), _single(list(tested.values()))
    if fewest >= single:
        return f"{single} nulls would tell a single figure, whatever the others do."
    return (
        f"{fewest} nulls could tell these, if the figures that lie beyond all their nulls stay there; {single} would "
        "tell a single one, whatever the others do."
    )


def _single(tested: Sequence[Figure]) -> int:
    """The fewest nulls with which any one figure can be called, whatever the others do."""
    return math.ceil(max(map(sides, tested)) * len(tested) / CALLED - 1e-9) - 1


def _least(tested: Sequence[Figure]) -> int:
    """The fewest nulls with which some figure can be called, if all lie beyond all nulls."""
    options = [(s, sum(sides(f) <= s for f in tested)) for s in (1, 2)]
    return min(math.ceil(s * len(tested) / (CALLED * many) - 1e-9) - 1 for s, many in options if many)


def _decide(key: Key, tested: Mapping[Key, Figure]) -> Decision:
    figure = tested[key]
    if figure.q_value is not None and figure.q_value <= CALLED:
        return Decision("apart")
    if _settled(figure) or _lowest_q(key, tested, figure.null_count) <= CALLED:
        return Decision("alike")
    return Decision("open")


def _fewest(key: Key, tested: Mapping[Key, Figure]) -> int:
    """The fewest nulls with which this open figure could be called."""
    below, enough = tested[key].null_count, math.ceil(2 * len(tested) / CALLED)
    while enough - below > 1:
        middle = (below + enough) // 2
        below, enough = (below, middle) if _lowest_q(key, tested, middle) <= CALLED else (middle, enough)
    return enough


def _settled(figure: Figure) -> bool:
    """Whether counting stopped because the null reached this figure `LIMIT` times: more draws change nothing."""
    assert figure.p_value is not None
    reached = figure.p_value >= 1 or figure.p_value / sides(figure) * figure.null_count >= LIMIT - 1e-9
    return figure.null_count >= LIMIT and reached


def _lowest_q(key: Key, tested: Mapping[Key, Figure], nulls: int) -> float:
    """q of this figure, were it beyond all of `nulls` draws; so stay those that are beyond theirs."""
    p_values = {}
    for name, figure in tested.items():
        assert figure.p_value is not None
        extreme = figure.p_value <= smallest_p(figure, figure.null_count) * (1 + 1e-9)
        at = smallest_p(figure, max(nulls, figure.null_count)) if extreme else figure.p_value
        p_values[str(name)] = smallest_p(figure, nulls) if name == key else at
    return q_values(p_values)[str(key)]
