"""Dask for real: a scheduler and two worker processes on loopback; killing one of them loses nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cloudpickle
import pytest
import torch

from cutaway.engines import get_executor, map_jobs
from cutaway.errors import InputError

pytest.importorskip("distributed")

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # worker processes cannot import a test file


def work(number, tensor):
    time.sleep(0.1)
    return number + float(tensor.sum()), os.getpid()


def kills_its_worker_once(number, folder):
    marker = Path(folder) / "died"
    if number == 3 and not marker.exists():
        marker.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return number, os.getpid()


def fails(number):
    raise ValueError(f"{number} is not allowed")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler file, and the worker processes."""
    folder = tmp_path_factory.mktemp("dask")
    file = folder / "scheduler.json"
    environment = os.environ | {"DASK_DISTRIBUTED__WORKER__DAEMON": "False", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    processes = [subprocess.Popen([*command, "--no-dashboard", "--scheduler-file", str(file)], **quiet)]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(file), "--nthreads", "1"]
    worker += ["--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
    processes += [subprocess.Popen(worker, **quiet) for _ in range(2)]
    deadline = time.monotonic() + 60
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    yield file, processes
    for process in reversed(processes):
        process.kill()
        process.wait()


@pytest.mark.timeout(120)
def test_two_workers_share_the_work_and_killing_one_loses_nothing(cluster, tmp_path):
    file, processes = cluster
    tensor = torch.ones(20)
    with get_executor("dask", address=str(file)) as executor:
        executor._client.wait_for_workers(2, timeout=60)
        jobs = [(k, tensor) for k in range(12)]
        found = map_jobs(executor, work, jobs)
        assert [value for value, _ in found] == [value for value, _ in map_jobs(get_executor(), work, jobs)]
        workers = {process.pid for process in processes[1:]}
        assert {pid for _, pid in found} == workers

        with pytest.raises(ValueError, match="is not allowed"):
            map_jobs(executor, fails, [(k,) for k in range(3)])

        done = []
        jobs = [(k, str(tmp_path)) for k in range(12)]
        found = map_jobs(executor, kills_its_worker_once, jobs, on_done=lambda k, _r: done.append(k))
        assert [number for number, _ in found] == list(range(12))
        assert sorted(done) == list(range(12))
        killed = int((tmp_path / "died").read_text())
        assert killed in workers
        assert found[3][1] == (workers - {killed}).pop()  # the other worker did it


def test_no_scheduler_there(monkeypatch):
    from cutaway.engines import dask_executor

    monkeypatch.setattr(dask_executor, "CONNECT_SECONDS", 0.5)
    with pytest.raises(InputError, match=r"dask scheduler 'tcp://127.0.0.1:9'; found no answer.*dask scheduler"):
        get_executor("dask", address="tcp://127.0.0.1:9")
