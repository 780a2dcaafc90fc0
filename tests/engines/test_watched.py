"""A watched child ends with its time, keeps to its memory, and says how it ended."""

from __future__ import annotations

import os
import sys
import time

import pytest

from cutaway.engines.watched import Overdue, Watched
from cutaway.errors import InputError, WorkError

WORK = '''
import os, signal, time
from cutaway.engines.budget import limit_memory
from cutaway.errors import InputError

def double(value, *, deadline, progress):
    print("noise on standard output")
    progress("half way")
    return 2 * value, os.getpid()

def hold(*, deadline, progress):
    """One call of C that holds the interpreter's lock and never looks at a clock."""
    progress("holding")
    sum(range(10**15))

def grow(extra, *, deadline, progress):
    limit_memory(extra)
    kept = []
    while True:
        kept.append(bytearray(1_000_000))
        progress(str(len(kept)))

def lift(*, deadline, progress):
    limit_memory(50_000_000)
    limit_memory(None)
    return len(bytearray(200_000_000))

def die(*, deadline, progress):
    os.kill(os.getpid(), signal.SIGKILL)

def refuse(*, deadline, progress):
    raise InputError("the offender", found="this", expected="that")

def fail(*, deadline, progress):
    raise ZeroDivisionError("by zero")

def left(*, deadline, progress):
    return deadline - time.monotonic()
'''


@pytest.fixture
def child(tmp_path, monkeypatch):
    (tmp_path / "watched_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    with Watched() as made:
        yield made


def call(child, name, *arguments, seconds=120.0, told=None):
    told = [] if told is None else told
    return child.call(f"watched_work:{name}", *arguments, deadline=time.monotonic() + seconds, progress=told.append)


def test_answers_come_with_progress_from_one_process_that_is_kept(child):
    told = []
    value, pid = call(child, "double", 21, told=told)
    assert value == 42 and told == ["half way"] and pid != os.getpid()
    assert call(child, "double", "a") == ("aa", pid)


def test_the_start_of_the_process_counts(child):
    assert 0 < call(child, "left", seconds=100.0) < 100.0


def test_a_kernel_that_never_looks_at_the_clock_is_ended_and_the_next_call_works(child):
    with pytest.raises(Overdue, match="holding"):
        call(child, "hold", seconds=5.0)
    assert call(child, "double", 1)[0] == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's limit on data is Linux's")
def test_memory_ends_at_the_limit(child):
    told = []
    with pytest.raises(MemoryError):
        call(child, "grow", 100_000_000, told=told)
    assert 50 <= int(told[-1]) <= 101
    assert call(child, "lift") == 200_000_000


def test_what_is_raised_arrives_and_a_death_is_told(child):
    with pytest.raises(InputError, match="the offender; found this; expected that"):
        call(child, "refuse")
    with pytest.raises(WorkError, match=r"found ZeroDivisionError: by zero \(watched_work.py, line \d+\)"):
        call(child, "fail")
    with pytest.raises(WorkError, match="its process ended with code -9"):
        call(child, "die")
