"""A scan that is told its time keeps to it, on a clock that only the instruments' work moves."""

import time
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from cutaway.errors import InputError
from cutaway.instrument import Findings, Instrument
from cutaway.network import Network
from cutaway.scan_cost import LEAST, CostLine, cost_lines, duration, parse_duration, planned
from cutaway.scanning import scan
from cutaway.testing.contract import small_classifier, small_data


class Clock:
    """Seconds that pass only when `spend` is called."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()


@dataclass(frozen=True, kw_only=True)
class Slow(Instrument):
    """Takes 2 s, and 0.5 s a row."""

    num_points: int = field(default=64)
    name: ClassVar[str] = "slow"
    question: ClassVar[str] = "How long?"
    source: ClassVar[str] = "a clock"

    def _measure(self, network, data, context):
        sample = context.sample(network, data, self.num_points)
        CLOCK.now += 2 + 0.5 * len(sample.rows)
        table = context.table()
        table.number("mean", float(network.outputs(sample.inputs).mean()), long_name="mean output")
        return Findings.of(table)


@pytest.fixture
def subject(monkeypatch):
    CLOCK.now = 0.0
    monkeypatch.setattr(time, "perf_counter", CLOCK)
    data = small_data(80)
    return Network(small_classifier(), data.inputs[:2], name="small"), data


@pytest.mark.parametrize("within", [20, 120, 400, 900])
def test_rows_and_nulls_are_cut_to_fit_and_said(subject, within):
    told: list[str] = []
    run = scan(*subject, instruments=[Slow()], engine="inline", nulls=39, within=within, tell=told.append)
    plan, used = run.record["plan"], CLOCK.now
    assert used <= 1.05 * within
    assert used >= 0.4 * within or plan["share"] < 0.1  # time that was given is used
    assert any(text.startswith("This takes about") for text in told)
    cut = next(text for text in told if text.startswith("To keep within"))
    if plan["share"] < 1:
        assert "of the rows" in cut and run.record["data"]["rows"] < 80
    assert run.record["nulls"] == run.readings[0].figures[0].null_count <= 39
    assert f"{run.record['nulls']} null" in run.record["reach"]  # what that many can still tell


@dataclass(frozen=True, kw_only=True)
class SlowAtFirst(Slow):
    """Takes 0.7 s more the first time that it is given 32 rows, and 1 ms a row."""

    name: ClassVar[str] = "slow-at-first"

    def _measure(self, network, data, context):
        rows = len(context.sample(network, data, self.num_points).rows)
        CLOCK.now += 0.001 * rows + (0.7 if rows == 32 and CLOCK.now < 0.03 else 0.0)
        table = context.table()
        table.number("rows", rows, long_name="rows")
        return Findings.of(table)


def test_what_happens_once_is_not_counted_for_every_row(subject):
    network, data = subject
    (line,) = cost_lines([SlowAtFirst(num_points=10_000)], network, data, patience=0.03).values()
    assert CLOCK.now > 0.7 and line(10_000) == pytest.approx(10, rel=0.1)


def test_enough_time_cuts_nothing(subject):
    run = scan(*subject, instruments=[Slow()], engine="inline", nulls=5, within=10_000)
    assert run.record["plan"]["share"] == 1 and run.record["nulls"] == 5 and run.record["data"]["rows"] == 80


def test_too_little_time_is_refused_before_anything_is_written(subject, tmp_path):
    with pytest.raises(InputError, match=r"too little to measure the network once; expected at least \d.* --within"):
        scan(*subject, tmp_path / "run", instruments=[Slow()], engine="inline", within=6)
    assert not (tmp_path / "run").exists()


def test_a_run_that_goes_on_keeps_its_plan(subject, tmp_path):
    first = scan(*subject, tmp_path / "run", instruments=[Slow()], engine="inline", within=120)
    spent = CLOCK.now
    again = scan(*subject, tmp_path / "run", instruments=[Slow()], engine="inline", within=120, resume=True)
    assert again.record["plan"] == first.record["plan"] and again.record["key"] == first.record["key"]
    new = again.record["nulls"] - first.record["nulls"]
    assert new > 0  # the time that the estimate took is there for nulls
    assert CLOCK.now - spent == pytest.approx(new * again.readings[0].cost.seconds)  # nothing is measured twice


def test_fewer_rows_are_taken_before_nulls_fall_below_the_least():
    """100 rows a second, 1,000 rows: the network takes 10 s, 39 nulls 390 s."""
    line = {"slow": CostLine(rows=100, base=1.0, slope=0.01)}
    chosen = [Slow(num_points=1000)]
    plans = {within: planned(line, chosen, 1000, 39, within) for within in (None, 400, 210, 102, 20)}
    assert [(p.share, p.nulls) for p in plans.values()] == [(1, 39), (1, 39), (0.5, 39), (0.25, 39), (0.0625, 31)]
    assert planned(line, chosen, 1000, 300, 210).nulls >= LEAST


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10min", 600), ("1.5h", 5400), ("2m", 120), (30, 30)])
def test_times_are_read(text, seconds):
    assert parse_duration(text) == seconds
    assert parse_duration(duration(seconds).replace(" ", "")) == pytest.approx(seconds, rel=0.1)


@pytest.mark.parametrize("text", ["", "ten", "5 weeks", "-3s", "0"])
def test_no_time_is_refused(text):
    with pytest.raises(InputError, match="such as 90s, 10min or 1h"):
        parse_duration(text)
