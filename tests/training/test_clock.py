"""A tracker's clock leaves out the time in which the process was stopped, and nothing else."""

import pytest

from cutaway.training.watches import Clock


@pytest.mark.parametrize(
    ("pause", "work", "counted"),
    [
        (3600.0, 0.5, False),  # a closed laptop
        (3600.0, 3500.0, True),  # a measurement of an hour
        (50.0, 0.0, True),  # a slow disk
    ],
)
def test_only_a_stopped_process_is_not_counted(pause, work, counted):
    at = [0.0, 0.0]
    clock = Clock(now=lambda: at[0], busy=lambda: at[1])
    clock.began = clock.look()
    for _ in range(10):
        at[0], at[1] = at[0] + 0.5, at[1] + 0.4
        clock.look()
    at[0], at[1] = at[0] + pause, at[1] + work
    assert clock.elapsed == pytest.approx(5.0 + (pause if counted else 0.5))
    at[0] += 0.5
    assert clock.elapsed == pytest.approx(5.5 + (pause if counted else 0.5))


def test_pauses_that_are_usual_count():
    """Steps of two minutes that wait for another machine."""
    at = [0.0]
    clock = Clock(now=lambda: at[0], busy=lambda: 0.0)
    clock.began = clock.look()
    for _ in range(5):
        at[0] += 120.0
        clock.look()
    assert clock.elapsed == 600.0
