"""Budgets read from words, chunks from budgets; progress lines that keep out of the way."""

import io
import sys
import time

import pytest

from cutaway.engines import chunk_size, default_budget, parse_budget, progress_bar, progress_lines
from cutaway.engines.budget import format_bytes
from cutaway.errors import BudgetError, InputError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GB", 8 * 10**9),
        ("500MB", 5 * 10**8),
        ("1.5 gib", 3 * 2**29),
        ("2g", 2 * 10**9),
        ("64KiB", 65536),
        (12345, 12345),
        ("1e3", None),
        ("0GB", None),
        ("-1GB", None),
        ("lots", None),
        ("3iB", None),
        ("", None),
    ],
)
def test_parse(text, size):
    if size is None:
        with pytest.raises(InputError, match="8GB, 500MB or 2GiB"):
            parse_budget(text)
    else:
        assert parse_budget(text) == size


def test_chunks():
    assert chunk_size(100, 1050) == 10
    assert chunk_size(0.5, 10) == 10
    with pytest.raises(BudgetError, match=r"found 1 KB; expected at least 8 KB, for 4 at a time"):
        chunk_size(2000, 1000, minimum=4)


def test_default_is_half_of_what_is_free():
    assert 100_000_000 <= default_budget() < 2**50
    assert format_bytes(1_500_000_000) == "1.5 GB"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_pipe_what_goes_on_is_told_every_so_often(monkeypatch):
    told = io.StringIO()
    monkeypatch.setattr(sys, "stderr", told)
    with progress_lines(every=0.02) as note:
        note("measuring")
        for text in ("measuring", "nulls 1 to 10 of 39"):
            note(text)
            for _ in range(500):
                time.sleep(0.01)
                if f"{text} (" in told.getvalue():
                    break
    lines = told.getvalue().splitlines()
    assert lines[0] == "  measuring (0 s so far)" and lines[-1].startswith("  nulls 1 to 10 of 39 (")
    count = len(lines)
    time.sleep(0.1)
    assert len(told.getvalue().splitlines()) == count  # the work is done


def test_silent_on_a_pipe_for_a_while_and_always_when_quiet(capsys, monkeypatch):
    with progress_lines() as note, progress_bar(3) as advance:
        note("measuring")
        advance()
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_lines(quiet=True) as note:
        note("measuring")
    assert terminal.getvalue() == ""
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_lines_on_a_terminal(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress_lines() as note:
        note("collapse: measuring [site 3]")
        note("writing the report")
    assert "collapse: measuring [site 3]" in terminal.getvalue()
    assert "writing the report" in terminal.getvalue()
    with progress_bar(2, "nulls") as advance:
        advance()
        advance()
    assert "nulls" in terminal.getvalue()
    assert capsys.readouterr().out == ""
