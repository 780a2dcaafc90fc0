"""submitit for real, on its local cluster: results, exceptions, and a killed job that is tried again."""

import os
import signal
import sys
from pathlib import Path

import cloudpickle
import pytest

from cutaway.engines import get_executor, map_jobs
from cutaway.errors import InputError

pytest.importorskip("submitit", reason="the extra submitit is not installed")

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # jobs cannot import a test file


def work(number, shared, folder):
    marker = Path(folder) / "died"
    if number == 1 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number + len(shared)


def fails(number):
    raise ValueError(f"{number} is not allowed")


def test_local_jobs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = []
    with get_executor("submitit", workers=2, address="local") as executor:
        jobs = [(k, [0] * 10, str(tmp_path)) for k in range(3)]
        assert map_jobs(executor, work, jobs, on_done=lambda k, _r: done.append(k)) == [10, 11, 12]
        assert sorted(done) == [0, 1, 2]
        assert (tmp_path / "died").exists()
        with pytest.raises(ValueError, match="7 is not allowed"):
            map_jobs(executor, fails, [(7,)])
    assert not list((tmp_path / "cutaway-jobs").glob("cutaway-*"))  # shared arguments are gone


def test_unknown_cluster(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="submitit cluster 'moon'"):
        get_executor("submitit", address="moon")
