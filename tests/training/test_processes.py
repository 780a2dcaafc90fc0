"""Ranks of a distributed training end in peace: gloo's threads are joined before the interpreter goes."""

import os
import subprocess
import sys

import pytest

PAIRS = """
import os, sys, tempfile, torch
import torch.distributed as dist
from cutaway.training.processes import Processes

def rank_of(rank, file):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="file://" + file, rank=rank, world_size=2)
    processes = Processes(60.0, quiet=False)
    for task in map(int, os.listdir("/proc/self/task")):  # gloo's threads come late, as on a busy machine
        if task != os.getpid():
            os.sched_setscheduler(task, os.SCHED_IDLE, os.sched_param(0))
    for _ in range(3):
        assert processes.agree(rank == 0, False) == (True, False)
    if {destroys}:
        dist.destroy_process_group()

bad = []
for pair in range(5):
    file, children = os.path.join({folder!r}, str(pair)), []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            rank_of(rank, file)
            sys.exit()
        children.append(child)
    bad += [status for child in children if (status := os.waitpid(child, 0)[1])]
assert not bad, bad
"""


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="needs the idle scheduling class of Linux")
@pytest.mark.parametrize("destroys", [True, False])
def test_a_rank_whose_gloo_threads_are_late_does_not_abort_at_its_end(tmp_path, destroys):
    code = PAIRS.format(folder=str(tmp_path), destroys=destroys)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
