"""A tracker's clock leaves out the time in which the process was stopped, and nothing else."""

import os
import signal
import subprocess
import sys
import time

import pytest

from cutaway.training.watches import CONTINUED, Clock

LOOP = """
import sys
from cutaway.training.watches import Clock
clock = Clock()
clock.began = clock.look()
for step in range(4):
    print(clock.elapsed, flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize(
    ("pause", "work", "continued", "counted"),
    [
        (3600.0, 0.5, 1, 0.5),  # stopped: what a pause took before
        (3600.0, 7.0, 2, 7.0),  # stopped twice in a long measurement: the work of it counts
        (3600.0, 0.0, 0, 3600.0),  # waiting for a device, another process or a slow disk
        (0.2, 0.0, 1, 0.2),  # SIGCONT without a stop
    ],
)
def test_only_a_stopped_process_is_not_counted(pause, work, continued, counted):
    at = [0.0, 0.0, 5]
    clock = Clock(now=lambda: at[0], busy=lambda: at[1], continued=lambda: at[2])
    clock.look()
    for _ in range(10):
        at[0], at[1] = at[0] + 0.5, at[1] + 0.4
        clock.look()
    began = clock.look()
    at[0], at[1], at[2] = at[0] + pause, at[1] + work, at[2] + continued
    assert clock.look() - began == pytest.approx(counted)
    at[0] += 0.5
    assert clock.look() - began == pytest.approx(counted + 0.5)


@pytest.mark.skipif(not hasattr(signal, "SIGCONT"), reason="needs POSIX signals")
def test_a_process_that_was_stopped_for_seconds_did_not_take_them():
    """Waiting for a second before does count."""

    def step():
        process.stdin.write("\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    with subprocess.Popen([sys.executable, "-c", LOOP], stdin=-1, stdout=-1, text=True) as process:
        process.stdout.readline()
        first = time.monotonic()
        time.sleep(1.0)
        step()
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(3.0)
        os.kill(process.pid, signal.SIGCONT)
        elapsed, whole = step(), time.monotonic() - first
        process.stdin.close()
    assert 1.0 <= elapsed <= whole - 1.5, (elapsed, whole)


@pytest.mark.skipif(not hasattr(signal, "SIGCONT"), reason="needs POSIX signals")
def test_the_programs_own_handler_is_called_and_comes_back():
    heard, before = [], signal.getsignal(signal.SIGCONT)
    mine = lambda number, frame: heard.append(number)  # noqa: E731
    try:
        signal.signal(signal.SIGCONT, mine)
        clock, other, count = Clock(), Clock(), CONTINUED.count
        clock.began = other.began = 0.0
        signal.raise_signal(signal.SIGCONT)
        clock.end()
        signal.raise_signal(signal.SIGCONT)
        assert len(heard) == 2 and CONTINUED.count == count + 2
        other.end()
        assert signal.getsignal(signal.SIGCONT) is mine and clock.began is None
    finally:
        signal.signal(signal.SIGCONT, before)
