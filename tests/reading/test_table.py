"""`Table`: one call gives variable, interval and figure, the same as packing them by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.reading.intervals import bootstrap_interval, mean_interval, median_interval, proportion_interval
from cutaway.reading.table import Table
from cutaway.status import Status

NUMBERS = st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=20).map(np.array)


@settings(deadline=None, max_examples=25)
@given(NUMBERS, st.integers(0, 2**31))
def test_a_mean_is_the_figure_the_column_and_the_interval_of_the_same_numbers(values, seed):
    table = Table({"sample": np.arange(len(values))}, seed=seed, resamples=20)
    table.mean("radius_mean", values, dims=["sample"], column="radius", each="of a sample", unit="m", long_name="mean")
    (figure,) = table.figures
    assert (figure.low, figure.high) == mean_interval(values, seed=seed, resamples=20)
    assert (figure.value, figure.unit, figure.long_name) == (values.mean(), "m", "mean")
    column = table.values["radius"]
    assert column.dims == ("sample",) and (column.values == values).all()
    assert column.attrs == {"unit": "m", "long_name": "of a sample", "kind": "estimate"}


@settings(deadline=None, max_examples=25)
@given(NUMBERS)
def test_a_median_and_a_rate_carry_the_intervals_of_their_kind(values):
    table, hits = Table(), values > 0
    table.median("m", values, long_name="x")
    table.rate("r", hits, long_name="y")
    median, rate = table.figures
    assert (median.value, median.low, median.high) == (np.median(values), *median_interval(values))
    assert (rate.value, rate.low, rate.high) == (hits.mean(), *proportion_interval(int(hits.sum()), len(hits)))
    assert not table.values.data_vars, "nothing is kept that was not asked for"


@pytest.mark.parametrize(("kind", "status"), [("upper_bound", Status.BOUND), ("exact", Status.ESTIMATE)])
def test_a_mean_of_bounds_is_a_bound(kind, status):
    table = Table()
    table.mean("m", np.ones(4), dims=["sample"], kind=kind, long_name="x")
    assert table.figures[0].status is status and table.values["m"].attrs["kind"] == kind


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 6), st.integers(0, 1000))
def test_columns_of_means_lie_between_their_ends(k, seed):
    values = np.random.default_rng(seed).normal(size=(30, k))
    table = Table({"site": np.arange(k)}, seed=seed, resamples=40)
    table.means("share", values, ["site"], band="part", long_name="x")
    assert np.allclose(table.values["share"], values.mean(axis=0))
    ends = [mean_interval(column, seed=seed, resamples=20) for column in values.T]
    kept = np.stack([table.values["part_low"], table.values["part_high"]], axis=1)
    assert (kept == np.array(ends)).all()
    assert not table.figures


def test_a_class_without_samples_has_no_rate():
    table = Table()
    table.rates("accuracy", np.array([3, 0]), np.array([4, 0]), ["class"], long_name="x")
    assert table.values["accuracy"].values[0] == 0.75
    assert np.isnan(table.values["accuracy"].values[1]) and np.isnan(table.values["accuracy_low"].values[1])


def test_a_statistic_lies_in_its_own_interval():
    values = np.array([0.0, 0.0, 0.0, 9.0])
    table = Table(resamples=50)
    table.statistic("top", lambda rows: values[rows].max() + len(set(rows.tolist())), 4, fewer=5, long_name="x")
    low, high = bootstrap_interval(lambda r: values[r].max() + len(set(r.tolist())), 4, seed=0, resamples=10)
    (figure,) = table.figures
    assert figure.value == 13 and high < 13, "repeated rows make this statistic smaller"
    assert (figure.low, figure.high) == (low, 13)


def test_one_number_is_a_figure_and_a_variable():
    table = Table()
    table.number("depth", 3, unit="sites", kind="exact", status=Status.EXACT, long_name="sites in a row")
    assert float(table.values["depth"]) == table.figures[0].value == 3
    assert table.values["depth"].attrs == {"unit": "sites", "long_name": "sites in a row", "kind": "exact"}
