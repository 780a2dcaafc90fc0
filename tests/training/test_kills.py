"""A tracked training that is killed, or whose disk is full, keeps every reading that was finished."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_model
from torch import nn

from cutaway.data import Dataset
from cutaway.instruments import Accuracy, Sparsity
from cutaway.reading import Reading
from cutaway.training import EveryN, Tracker, open_training

DATA = Dataset(
    name="d", inputs=torch.rand(24, 6, generator=torch.Generator().manual_seed(0)), labels=torch.arange(24) % 3
)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def train(folder, last: int) -> None:
    """From the newest checkpoint on, as a user's loop does it, to step `last`."""
    network, begin = model(), -1
    if (folder / "run.json").exists():
        checkpoints = open_training(folder).checkpoints
        begin = max(checkpoints, default=-1)
        if checkpoints:
            load_model(network, checkpoints[begin])
    with Tracker([Sparsity(), Accuracy()], EveryN(2), folder, data=DATA, checkpoints=EveryN(4), resume=True) as tracker:
        for step in range(begin + 1, last + 1):
            tracker.step(network, step, loss=float(step), examples=[step])


def journal_size(run) -> int:
    return (run / "journal.bin").stat().st_size if (run / "journal.bin").exists() else 0


KILLS = """
import os, random, signal, sys, time, warnings
from pathlib import Path
sys.path.insert(0, {here!r})
from test_kills import journal_size, open_training, train
warnings.simplefilter("ignore")

draw, run, before = random.Random(1), Path({folder!r}), set()
for _ in range(10):
    grown = journal_size(run) + draw.randrange(12_000)
    child = os.fork()  # before this process has threads of its own
    if child == 0:
        train(run, 100_000)
        os._exit(0)
    while journal_size(run) < grown and not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        time.sleep(0.005)
    time.sleep(draw.uniform(0, 0.02))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, "the training was still at work"
    found = open_training(run)
    assert not found.finished
    files = set((run / "readings").glob("[!.]*"))
    assert before <= files, "what was finished stays"
    assert all(taken.file in files for taken in found.readings)
    assert len(files - set(t.file for t in found.readings) - before) <= 2, "one step's readings await the journal"
    before = files
assert len(before) > 4, before
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore")
def test_ten_kills_lose_no_reading_that_was_finished(tmp_path):
    run = tmp_path / "run"
    code = KILLS.format(here=str(Path(__file__).parent), folder=str(run))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for file in (run / "readings").glob("[!.]*"):
        assert Reading.load(file).figures
    last = open_training(run).last_step + 5
    train(run, last)
    found = open_training(run)
    assert found.finished and found.missing == ()
    for series in found.series.values():
        assert series.steps.tolist() == list(range(0, last + 1, 2))
    assert found.scalars["loss"][1].tolist() == [float(step) for step in range(last + 1)]
    assert [step for step, _ in found.order()] == list(range(last + 1))


@pytest.fixture
def disk(tmp_path):
    """A disk of our own of 120 KB, and a function that makes it larger."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs can be mounted here (needs root)")
    yield folder, lambda: subprocess.run(["mount", "-o", "remount,size=20m", str(folder)], check=True)
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up_loses_nothing_that_was_told(disk):
    folder, grow = disk
    network = model()
    tracker = Tracker([Sparsity(), Accuracy()], EveryN(1), folder / "run", data=DATA)

    def fill():
        for step in range(40):
            tracker.step(network, step, loss=float(step))

    with pytest.warns(UserWarning, match=r"is not recorded: .*No space left on device.*[Ff]ree some space"):
        fill()
    kept = open_training(folder / "run")
    assert 0 < len(kept.readings) < 80
    assert all(taken.load().figures for taken in kept.readings)
    assert not list((folder / "run").rglob("*.part"))
    grow()
    tracker.step(network, 40, loss=40.0)
    tracker.close()
    run = open_training(folder / "run")
    assert run.finished
    assert run.scalars["loss"][1].tolist() == [float(step) for step in range(41)]
    assert {t.file for t in kept.readings} < {t.file for t in run.readings}
    assert run.readings[-1].step == 40


def test_a_run_killed_after_its_last_step_is_finished_by_the_next_tracker_which_has_no_step_left(tmp_path):
    run, network = tmp_path / "run", model()
    cut = Tracker([Sparsity()], EveryN(2), run, data=DATA, checkpoints=EveryN(4))
    for step in range(5):
        cut.step(network, step, loss=float(step))
    cut._writer.close()  # as a kill would: nothing more is written
    before = open_training(run)
    assert not before.finished and max(before.checkpoints) == 4
    train_on: dict[str, Any] = {"data": DATA, "checkpoints": EveryN(4), "resume": True}
    Tracker([Sparsity()], EveryN(2), run, **train_on).close(failed="ValueError: no data")
    assert [e["what"] for e in open_training(run).events] == ["failed"]
    for _ in range(2):
        with Tracker([Sparsity()], EveryN(2), run, **train_on):
            pass
    after = open_training(run)
    assert after.finished and [e["what"] for e in after.events] == ["failed", "finished"]
    assert (after.last_step, [t.step for t in after.readings]) == (4, [0, 2, 4])
    assert after.scalars["loss"][1].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    with Tracker([Sparsity()], EveryN(2), run, **train_on) as longer:
        longer.step(network, 5, loss=5.0)
    assert [e["what"] for e in open_training(run).events] == ["failed", "resumed", "finished"]
    Tracker([Sparsity()], EveryN(2), tmp_path / "none", **train_on).close()
    assert not (tmp_path / "none").exists()


def test_what_a_killed_writer_left_of_a_checkpoint_is_removed_by_the_next(tmp_path):
    run, network = tmp_path / "run", model()
    for begin in (0, 3):
        with Tracker([Sparsity()], EveryN(2), run, data=DATA, checkpoints=EveryN(2), resume=True) as tracker:
            for step in range(begin, begin + 3):
                tracker.step(network, step, loss=1.0)
        if begin:
            assert [path.name for path in run.rglob("*.part")] == [".report.html.1-aaaaaa.part"]
        (run / "checkpoints" / ".step-00000009.safetensors.1-aaaaaa.part").write_text("half")
        (run / "readings" / ".00000009-data-sparsity.zarr.zip.1-aaaaaa.part").write_text("half")
        (run / ".report.html.1-aaaaaa.part").write_text("of another command")
