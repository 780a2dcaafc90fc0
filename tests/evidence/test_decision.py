"""What is said of a figure beside its null follows the smallest q that its nulls can reach."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.evidence.decision import CALLED, decide, reach, smallest_p, wanting
from cutaway.evidence.multiplicity import q_values
from cutaway.reading import Figure

SIDES = {"greater": 1, "less": 1, "two-sided": 2}


def judged(figures):
    """Figures (alternative, exceedances, nulls) with p and q as a scan gives them."""
    made = {
        i: Figure(
            name=str(i), value=1.0, alternative=side, null_count=nulls,
            p_value=min(1.0, SIDES[side] * (1 + above) / (nulls + 1)),
        )
        for i, (side, above, nulls) in enumerate(figures)
    }  # fmt: skip
    import dataclasses

    q = q_values({str(i): f.p_value for i, f in made.items()})
    return {i: dataclasses.replace(f, q_value=q[str(i)]) for i, f in made.items()}


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 60),
    st.lists(st.tuples(st.sampled_from(sorted(SIDES)), st.integers(0, 6)), min_size=1, max_size=25),
)
def test_alike_is_never_said_where_no_outcome_could_have_told_apart(nulls, raw):
    """Oracle: put the figure itself beyond all nulls and judge the whole scan again."""
    figures = judged([(side, min(above, nulls), nulls) for side, above in raw])
    for i, decision in decide(figures).items():
        best = judged([(f.alternative, 0 if j == i else min(raw[j][1], nulls), nulls) for j, f in figures.items()])
        could = best[i].q_value <= CALLED
        assert (decision.word == "apart") == (figures[i].q_value <= CALLED)
        if decision.word == "alike" and figures[i].p_value < 1:
            assert could
        if not could:
            assert decision.word == "open" or figures[i].p_value == 1


def test_the_number_needed_is_enough_and_one_less_is_not():
    """19 nulls, 20 two-sided figures of which 12 lie beyond all nulls: the same picture is called at `needed`."""
    raw = [("two-sided", 0)] * 12 + [("two-sided", 9)] * 8
    figures = judged([(s, a, 19) for s, a in raw])
    assert decide(figures)[0].word == "open"
    needed, single = (int(n) for n in re.findall(r"(\d+) (?:nulls could|would tell a single)", wanting(figures)))
    assert f"{single} nulls would tell a single one" in reach(list(figures.values()), 19)

    def called(nulls):  # the middling ones keep their p = 1
        return judged([(s, 0 if a == 0 else nulls // 2, nulls) for s, a in raw])[0].q_value <= CALLED

    assert called(needed) and not called(needed - 1)


def test_where_every_figure_is_settled_no_nulls_are_wanting():
    assert wanting(judged([("greater", 0, 19)])) == "" and wanting({}) == ""
    assert wanting(judged([("greater", 0, 5)])) == "9 nulls would tell a single figure, whatever the others do."


def test_a_figure_that_the_null_reached_often_is_alike_whatever_the_number():
    settled = Figure(name="x", value=1.0, alternative="greater", p_value=10 / 12, q_value=1.0, null_count=20)
    assert decide({"x": settled})["x"].word == "alike"


@pytest.mark.parametrize(
    ("nulls", "told"),
    [
        (
            5,
            "5 nulls cannot tell any of the 30 figures from its null, whatever comes out: it takes 19 at least, and 599",
        ),
        (19, "only if all of them are; 599 nulls would tell a single one"),
        (39, "only if at least 15 of them are"),
        (599, "599 nulls suffice to tell a single one of the 30 figures"),
    ],
)
def test_what_a_number_of_nulls_can_tell_is_said_beforehand(nulls, told):
    figures = [Figure(name=str(i), value=1.0) for i in range(30)]
    assert told in reach(figures, nulls)
    raw = [("two-sided", 0)] * 30
    assert (judged([(s, a, nulls) for s, a in raw])[0].q_value <= CALLED) == (nulls >= 19)


def test_figures_without_a_null_need_none():
    assert reach([Figure(name="x", value=1.0, alternative="none")], 19) == "" and decide({}) == {}


def test_the_smallest_p_value_has_one_side_or_two():
    one = Figure(name="a", value=1.0, alternative="greater")
    both = Figure(name="b", value=1.0, alternative="two-sided")
    assert smallest_p(one, 19) == pytest.approx(1 / 20) and smallest_p(both, 19) == pytest.approx(2 / 20)
    assert smallest_p(both, 0) == 1.0


def test_a_q_value_at_the_limit_is_called():
    at = Figure(name="a", value=1.0, p_value=CALLED, q_value=CALLED, null_count=99)
    beyond = Figure(name="a", value=1.0, p_value=1.0, q_value=1.0, null_count=99)
    assert decide({("i", "a"): at})["i", "a"].word == "apart"
    assert decide({("i", "a"): beyond})["i", "a"].word == "alike"
