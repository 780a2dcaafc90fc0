"""The tracker: it never changes the training, and what it recorded survives."""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import FileError, InputError, WorkError
from cutaway.instruments import Accuracy, LocalComplexity, RobustAccuracy, Sparsity
from cutaway.training import EveryN, LogSpaced, TimeBudget, Tracker, When, open_training
from cutaway.training.journal import JournalWriter, read_blocks
from cutaway.training.sinks import CsvSink, JsonLinesSink, TensorBoardSink
from cutaway.training.told import save_weights


def small_set(rows: int = 24, seed: int = 0) -> Dataset:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.rand(rows, 6, generator=generator)
    return Dataset(name="dots", inputs=inputs, labels=(inputs.sum(1) > 3).long(), value_range=(0.0, 1.0))


def small_model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.1), nn.Linear(12, 2))


def train(model: nn.Module, steps: int, tell=None, *, begin: int = 0) -> nn.Module:
    """A loop that draws from every global stream: batches from torch, noise from NumPy, dropout."""
    data = small_set()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2)
    if tell is not None and begin == 0:
        tell(model, 0)
    for step in range(begin + 1, steps + 1):
        rows = torch.randperm(len(data.inputs))[:8]
        noise = torch.from_numpy(np.random.standard_normal((8, 6))).float() * 0.01  # noqa: NPY002
        model.train()
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(data.inputs[rows] + noise), data.labels[rows])
        loss.backward()
        optimiser.step()
        if tell is not None:
            tell(model, step, loss=loss, examples=rows, learning_rate=1e-2)
    return model


INSTRUMENTS = [LocalComplexity(num_directions=3), Sparsity(), RobustAccuracy(steps=3), Accuracy()]


def test_weights_and_random_streams_are_the_same_with_and_without_tracking(tmp_path):
    def run(tell):
        np.random.seed(3)  # noqa: NPY002
        model = train(small_model(), 12, tell)
        tail = (torch.rand(3), np.random.rand(3), model.training, [p.grad.clone() for p in model.parameters()])  # noqa: NPY002
        return model.state_dict(), tail

    weights, tail = run(None)
    with Tracker(INSTRUMENTS, EveryN(3), tmp_path / "run", data=small_set(seed=1), checkpoints=EveryN(4)) as tracker:
        tracked, other = run(tracker.step)
    assert len(open_training(tmp_path / "run").readings) == 5 * 4
    for name, value in weights.items():
        assert torch.equal(value, tracked[name]), name
    assert torch.equal(tail[0], other[0])
    assert (tail[1] == other[1]).all()
    assert tail[2] == other[2]
    assert all(torch.equal(a, b) for a, b in zip(tail[3], other[3], strict=True))


def test_everything_told_is_recorded(tmp_path):
    told = []

    def tell(model, step, **more):
        tracker.step(model, step, **more)
        if "examples" in more:
            told.append((step, more["examples"].tolist(), float(more["loss"].detach())))

    data = {"train": small_set(), "test": small_set(seed=1)}
    with Tracker({"dead": Sparsity(), "acc": Accuracy()}, LogSpaced(20, 5), tmp_path / "run", data=data) as tracker:
        train(small_model(), 20, tell)
    run = open_training(tmp_path / "run")
    assert run.finished
    assert run.last_step == 20
    assert [(s, rows.tolist()) for s, rows in run.order()] == [(s, rows) for s, rows, _ in told]
    steps, losses = run.scalars["loss"]
    assert steps.tolist() == [s for s, _, _ in told]
    assert losses.tolist() == pytest.approx([x for _, _, x in told])
    assert set(run.scalars["learning_rate"][1]) == {1e-2}
    series = run.series["test/acc/accuracy"]
    assert series.steps.tolist() == [0, 1, 2, 4, 9, 20]
    for taken in run.readings:
        reading = taken.load()
        for figure in reading.figures:
            at = run.series[f"{taken.data}/{taken.instrument}/{figure.name}"]
            assert at.value[at.steps.tolist().index(taken.step)] == pytest.approx(figure.value, nan_ok=True)


def test_checkpoints_hold_the_weights_of_their_step(tmp_path):
    from safetensors.torch import load_file

    kept = {}

    def tell(model, step, **more):
        tracker.step(model, step, **more)
        kept[step] = {k: v.clone() for k, v in model.state_dict().items()}

    with Tracker([Sparsity()], EveryN(5), tmp_path / "r", data=small_set(), checkpoints=EveryN(2)) as tracker:
        train(small_model(), 6, tell)
    run = open_training(tmp_path / "r")
    assert list(run.checkpoints) == [0, 2, 4, 6]
    for step, file in run.checkpoints.items():
        loaded = load_file(file)
        assert all(torch.equal(loaded[k], v) for k, v in kept[step].items())


KILLED = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
from test_tracker import *
torch.set_num_threads(1)
folder, seen = Path({folder!r}), 0
for delay in (0.1, 0.35):
    child = os.fork()  # before this process has threads of its own
    if child == 0:
        more = dict(data=small_set(), checkpoints=EveryN(10), resume=True)
        train(small_model(), 100000, Tracker([Sparsity(), Accuracy()], EveryN(2), folder, **more).step)
        os._exit(0)
    while not (folder / "run.json").exists() or len(list(folder.glob("readings/*.zip"))) < 2:
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "the training was still at work"
        time.sleep(0.01)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    run = open_training(folder)
    for taken in run.readings:
        assert taken.load().figures
    assert not run.finished
    seen += len(run.readings)
assert seen > 2
"""


def test_a_kill_at_any_moment_leaves_every_completed_reading_readable(tmp_path):
    folder = tmp_path / "run"
    code = KILLED.format(here=str(Path(__file__).parent), folder=str(folder))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    run = open_training(folder)
    last = max(run.checkpoints, default=0)
    model = small_model()
    from safetensors.torch import load_model

    load_model(model, run.checkpoints[last])
    with Tracker([Sparsity(), Accuracy()], EveryN(2), folder, data=small_set(), resume=True) as tracker:
        train(model, last + 10, tracker.step, begin=last)
    run = open_training(folder)
    assert run.finished
    assert run.last_step == last + 10
    steps = run.series["data/accuracy/accuracy"].steps.tolist()
    assert steps == list(range(0, last + 11, 2))
    order = [s for s, _ in run.order()]
    assert order == sorted(set(order))


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_journal_cut_anywhere_keeps_its_whole_blocks(tmp_path, cut):
    path = tmp_path / "journal.bin"
    writer = JournalWriter(path)
    for k in range(4):
        writer.append({"kind": "event", "k": k}, bytes(range(k)))
    writer.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    kept = [b.record["k"] for b in read_blocks(path)]
    assert kept == list(range(len(kept)))
    assert len(kept) < 4
    writer = JournalWriter(path)
    writer.append({"kind": "event", "k": 9})
    writer.close()
    assert [b.record["k"] for b in read_blocks(path)] == [*kept, 9]


@pytest.mark.parametrize("block", range(5))
@pytest.mark.parametrize("place", [0, 3, 5, 9, 20])
def test_a_flipped_bit_costs_one_block_and_resuming_cuts_nothing_whole(tmp_path, block, place):
    path = tmp_path / "journal.bin"
    writer = JournalWriter(path)
    starts = []
    for k in range(5):
        starts.append(path.stat().st_size)
        writer.append({"kind": "event", "k": k}, b'{"' * k)
    writer.close()
    data = bytearray(path.read_bytes())
    data[starts[block] + place] ^= 1
    path.write_bytes(bytes(data))
    rest = [k for k in range(5) if k != block]
    last = block == 4  # cannot be told from what a kill leaves
    with contextlib.nullcontext() if last else pytest.warns(UserWarning, match=r"found 1 damaged stretch \("):
        assert [b.record["k"] for b in read_blocks(path)] == rest
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writer = JournalWriter(path)
        writer.append({"kind": "event", "k": 9})
        writer.close()
        assert [b.record["k"] for b in read_blocks(path)] == [*rest, 9]
    cut = [f.read_bytes() for f in tmp_path.glob("journal.bin.cut-*")]
    assert cut == ([bytes(data[starts[4] :])] if last else [])


def test_steps_out_of_order_twice_or_after_the_end_are_warned_of(tmp_path):
    model = small_model()
    tracker = Tracker([Sparsity()], EveryN(1), tmp_path / "r", data=small_set())
    tracker.step(model, 0)
    tracker.step(model, 3)
    with pytest.warns(UserWarning, match="step 3 is not recorded: step 3 told twice"):
        tracker.step(model, 3)
    assert not tracker.step(model, 2), "told once a kind"
    tracker.close()
    tracker.close()
    with pytest.warns(UserWarning, match="a tracker that was closed"):
        tracker.step(model, 4)
    run = open_training(tmp_path / "r")
    assert [t.step for t in run.readings] == [0, 3]
    assert [e["what"] for e in run.events] == ["not-recorded", "finished"]


def test_a_model_that_changes_shape_is_warned_of(tmp_path):
    model = small_model()
    with Tracker([Sparsity()], EveryN(1), tmp_path / "r", data=small_set()) as tracker:
        tracker.step(model, 0)
        model[4] = nn.Linear(12, 3)
        with pytest.warns(UserWarning, match=r"model at step 1; found parameter '4.weight' of shape \[3, 12\]"):
            tracker.step(model, 1)


def test_another_model_is_warned_of_at_once_between_measurements_too(tmp_path):
    with Tracker([Sparsity()], EveryN(5), tmp_path / "r", data=small_set()) as tracker:
        for step in range(3):
            tracker.step(small_model(), step)  # another module of the same shapes goes on
        with pytest.warns(UserWarning, match=r"model at step 3; found parameter '0.weight' of shape \[4, 6\]"):
            tracker.step(nn.Sequential(nn.Linear(6, 4)), 3)


@pytest.mark.parametrize(
    ("told", "words"),
    [({"loss": "abc"}, "'loss' told at step 0; found 'abc'"), ({"grad": torch.ones(2)}, r"found shape \(2,\)")],
)
def test_scalars_that_are_no_number_are_refused(tmp_path, told, words):
    tracker = Tracker([Sparsity()], EveryN(1), tmp_path / "r", data=small_set())
    with tracker, pytest.raises(InputError, match=words + "; expected one number"):
        tracker.step(small_model(), 0, **told)


def test_a_full_disk_during_a_checkpoint_is_told(tmp_path):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = nn.Linear(200, 200)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
        with pytest.raises(FileError, match=r"w.safetensors'; found .*[Ff]ile too large.*Free some space"):
            save_weights(big, tmp_path / "w.safetensors", {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_shown_in_one_line(tmp_path):
    with Tracker([Sparsity()], EveryN(1), tmp_path / "r", data=small_set()) as tracker:
        train(small_model(), 2, tracker.step)
    told = repr(open_training(tmp_path / "r"))
    assert "step 2, finished: " in told
    assert len(told) < 200 + len(str(tmp_path))


def test_the_folder_of_another_model_or_of_other_instruments_is_refused(tmp_path):
    with Tracker([Sparsity()], EveryN(1), tmp_path / "r", data=small_set()) as tracker:
        tracker.step(small_model(), 0)
    with pytest.raises(InputError, match="found a run; expected a new folder"):
        Tracker([Sparsity()], EveryN(1), tmp_path / "r", data=small_set()).step(small_model(), 0)
    other = nn.Sequential(nn.Linear(6, 2))
    with pytest.raises(InputError, match="a run of another model"):
        Tracker([Sparsity()], EveryN(1), tmp_path / "r", data=small_set(), resume=True).step(other, 1)
    with pytest.raises(InputError, match="a run of another set of instruments"):
        Tracker([Accuracy()], EveryN(1), tmp_path / "r", data=small_set(), resume=True).step(small_model(), 1)


def test_a_newer_format_and_another_kind_of_run_are_refused(tmp_path):
    with Tracker([Sparsity()], EveryN(1), tmp_path / "r", data=small_set()) as tracker:
        tracker.step(small_model(), 0)
    file = tmp_path / "r" / "run.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "format": 99}))
    with pytest.raises(FileError, match="found format 99"):
        open_training(tmp_path / "r")
    file.write_text(json.dumps({**record, "kind": "scan"}))
    with pytest.raises(FileError, match="a run of another kind"):
        open_training(tmp_path / "r")


def test_a_full_disk_is_told_and_what_was_recorded_stays_whole(tmp_path, monkeypatch):
    tracker = Tracker([Sparsity()], EveryN(1), tmp_path / "r", data=small_set())
    model = small_model()
    tracker.step(model, 0)
    tracker.step(model, 1, loss=1.0)
    assert tracker._writer is not None
    journal = tracker._writer.journal
    real = journal._file

    class Full:
        def __getattr__(self, name):
            return getattr(real, name)

        def write(self, data):
            real.write(bytes(data)[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")

    size = journal.path.stat().st_size
    monkeypatch.setattr(journal, "_file", Full())
    with pytest.warns(UserWarning, match="step 2 is not recorded.*No space left on device"):
        tracker.step(model, 2, loss=0.5)
    assert journal.path.stat().st_size == size, "a torn block was left behind"
    run = open_training(tmp_path / "r")
    assert run.series["data/sparsity/" + next(iter(run.series)).split("/")[2]].steps.tolist() == [0, 1]
    monkeypatch.setattr(journal, "_file", real)
    tracker.step(model, 3, loss=0.25)
    tracker.close()
    assert open_training(tmp_path / "r").scalars["loss"][0].tolist() == [1, 2, 3]


def test_a_nan_loss_is_marked_or_stops(tmp_path):
    model = small_model()
    with Tracker([Sparsity()], EveryN(2), tmp_path / "mark", data=small_set()) as tracker:
        tracker.step(model, 0)
        with pytest.warns(UserWarning, match="the loss is nan at step 1; tracking goes on"):
            tracker.step(model, 1, loss=float("nan"))
        tracker.step(model, 2, loss=float("nan"))
    run = open_training(tmp_path / "mark")
    assert [(e["what"], e["step"]) for e in run.events] == [("nan", 1), ("finished", 2)]
    tracker = Tracker([Sparsity()], EveryN(2), tmp_path / "stop", data=small_set(), on_nan="stop")
    with pytest.raises(WorkError, match="training at step 7; found a loss of inf"), tracker:
        tracker.step(model, 7, loss=float("inf"))
    run = open_training(tmp_path / "stop")
    assert [e["what"] for e in run.events] == ["nan", "failed"]


def test_nan_weights_do_not_stop_the_training(tmp_path):
    model = small_model()
    with Tracker([Sparsity()], EveryN(1), tmp_path / "r", data=small_set()) as tracker:
        tracker.step(model, 0)
        with torch.no_grad():
            model[0].weight[0, 0] = float("nan")
        with pytest.warns(UserWarning, match="failed at step 1"):
            tracker.step(model, 1)
        tracker.step(model, 2)
    run = open_training(tmp_path / "r")
    assert [e["step"] for e in run.events if e["what"] == "not-measured"] == [1, 2]


def test_an_instrument_without_labels_to_use_is_refused_or_left_out(tmp_path):
    bare = Dataset(name="bare", inputs=torch.rand(8, 6))
    with pytest.raises(InputError, match=r"instrument 'accuracy'; found data without labels \(random\)"):
        Tracker([Accuracy()], EveryN(1), tmp_path / "r", data={"random": bare})
    with Tracker([Accuracy()], EveryN(1), tmp_path / "r", data={"random": bare, "test": small_set()}) as tracker:
        tracker.step(small_model(), 0)
    run = open_training(tmp_path / "r")
    assert {t.data for t in run.readings} == {"test"}
    assert run.record["left_out"] == [{"instrument": "accuracy", "data": "random", "reason": "needs labels"}]


def budgeted(tmp_path, monkeypatch, *, costs, step_seconds, num_steps):
    """A run under a budget of 5 % with a clock of our own: every step and measurement takes what is said."""
    clock, costs = [100.0], iter(costs)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    monkeypatch.setattr("time.process_time", lambda: clock[0])

    def measure(*_):
        clock[0] += next(costs)
        return {}

    with Tracker([Sparsity()], TimeBudget(0.05), tmp_path / "r", data=small_set()) as tracker:
        monkeypatch.setattr(tracker._measuring, "one", measure)
        model = small_model()
        for step in range(num_steps):
            clock[0] += step_seconds
            tracker.step(model, step)
    return tracker


def test_the_time_budget_is_kept(tmp_path, monkeypatch):
    costs = np.random.default_rng(0).uniform(0.5, 1.5, 1000)
    tracker = budgeted(tmp_path, monkeypatch, costs=costs, step_seconds=0.01, num_steps=20_000)
    assert tracker.share == pytest.approx(0.05, abs=0.01)
    shares = [spent / elapsed for _, elapsed, spent in open_training(tmp_path / "r").shares]
    assert len(shares) > 5
    assert max(shares[5:]) <= 0.06


def test_a_dear_first_measurement_does_not_starve_a_short_run(tmp_path, monkeypatch):
    """About 70 s in steps of 2 ms; the first measurement takes 2.3 s, later ones 20 ms."""
    costs = [2.3] + [0.02] * 10_000
    tracker = budgeted(tmp_path, monkeypatch, costs=costs, step_seconds=0.002, num_steps=33_700)
    shares = open_training(tmp_path / "r").shares
    assert tracker.share == pytest.approx(0.05, abs=0.01)
    assert len(shares) > 20
    assert max(spent / elapsed for _, elapsed, spent in shares[1:]) <= 0.06


def test_a_condition_and_joined_schedules(tmp_path):
    schedule = When(lambda m: m.scalars.get("loss", 9.0) < 0.5) | EveryN(10)
    assert not schedule.by_step
    with Tracker([Sparsity()], schedule, tmp_path / "r", data=small_set()) as tracker:
        measured = [s for s in range(21) if tracker.step(small_model(), s, loss=0.4 if s in (3, 4) else 1.0)]
    assert measured == [0, 3, 4, 10, 20]


@pytest.mark.parametrize(
    ("make", "text"),
    [(lambda: EveryN(0), "EveryN"), (lambda: LogSpaced(0), "LogSpaced"), (lambda: TimeBudget(5), "share")],
)
def test_schedules_refuse_what_has_no_meaning(make, text):
    with pytest.raises(InputError, match=text):
        make()


def test_sinks_get_every_number(tmp_path):
    pytest.importorskip("tensorboard")
    sinks = [CsvSink(tmp_path / "a.csv"), JsonLinesSink(tmp_path / "a.jsonl"), TensorBoardSink(tmp_path / "tb")]
    with Tracker([Sparsity()], EveryN(2), tmp_path / "r", data=small_set(), sinks=sinks) as tracker:
        train(small_model(), 4, tracker.step)
    run = open_training(tmp_path / "r")
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    for name, series in run.series.items():
        assert [float(r["value"]) for r in rows if r["name"] == name] == pytest.approx(series.value.tolist())
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["_step"] for line in lines] == [0, 2, 4]
    assert set(run.series) <= set(lines[0])
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    name = next(iter(run.series))
    assert [e.value for e in events.Scalars(name)] == pytest.approx(run.series[name].value.tolist(), rel=1e-6)


DISTRIBUTED = """
import os, sys
sys.path.insert(0, {here!r})
import torch.distributed as dist
from test_tracker import *
torch.set_num_threads(1)

class Dies(Sparsity):
    def _measure(self, *a):
        os._exit(7)

def train_together(folder, instrument, schedule, wait):
    rank = dist.get_rank()
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)))
    tracker = Tracker([instrument], schedule, folder, data=small_set(), wait=wait)
    data, optimiser = small_set(), torch.optim.SGD(model.parameters(), 0.1)
    tracker.step(model, 0)
    for step in range(1, 9):
        rows = torch.arange(rank * 12, rank * 12 + 12)
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(data.inputs[rows]), data.labels[rows])
        loss.backward()
        optimiser.step()
        tracker.step(model, step, loss=loss)
    tracker.close()
    dist.destroy_process_group()

whole = Sparsity(), TimeBudget(0.5) | EveryN(4), 90.0  # a loaded machine is slow
"""
TORCHRUN = """
dist.init_process_group("gloo")
train_together({folder!r} + "/whole", *whole)
"""
FORKED = """
import json, time
import torch._dynamo  # DistributedDataParallel would import it in every rank

def rank_of(rank, name, instrument, schedule, wait):
    dist.init_process_group("gloo", init_method="file://" + {folder!r} + "/meet" + name, rank=rank, world_size=2)
    train_together({folder!r} + "/" + name, instrument, schedule, wait)

def pair(name, kinds, schedule, wait):
    children = []
    for rank in range(2):
        children.append(os.fork())
        if children[-1] == 0:
            rank_of(rank, name, kinds[rank], schedule, wait)
            sys.exit()
    return [os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children]

found = dict(whole=pair("whole", whole[:1] * 2, *whole[1:]), dead=pair("dead", (Dies(), Sparsity()), EveryN(4), 5.0))
print(json.dumps(found))
"""


def _launched(tmp_path, code: str, *words: str) -> subprocess.CompletedProcess:
    code = textwrap.dedent(DISTRIBUTED + code).format(here=str(Path(__file__).parent), folder=str(tmp_path))
    (tmp_path / "loop.py").write_text(code)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, *words, str(tmp_path / "loop.py")]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, check=False)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Two pairs of ranks, forked by one process: where their runs are, exit codes, what they wrote."""
    folder = tmp_path_factory.mktemp("pairs")
    done = _launched(folder, FORKED)
    assert done.returncode == 0, done.stderr[:4000]
    return folder, json.loads(done.stdout), done.stderr


def _measured_by_rank_zero(folder: Path) -> None:
    run = open_training(folder)
    assert run.finished
    assert run.last_step == 8
    assert {0, 4, 8} <= {t.step for t in run.readings}


def test_two_processes_rank_zero_measures(pairs):
    folder, found, words = pairs
    assert found["whole"] == [0, 0], words[:4000]
    _measured_by_rank_zero(folder / "whole")


@pytest.mark.slow
def test_two_processes_of_torchrun(tmp_path):
    done = _launched(tmp_path, TORCHRUN, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    assert done.returncode == 0, done.stderr[:4000] + done.stderr[-1000:]
    _measured_by_rank_zero(tmp_path / "whole")


def test_a_dead_measuring_process_does_not_hang_the_others(pairs):
    """Nothing but the tracker ends the other one."""
    _, found, words = pairs
    assert found["dead"] == [7, 1]  # that it ends at all is what `_launched` waits for
    assert "process 1 of a distributed training; found no word from the other processes within 5 s" in words


def test_compiled_models_are_seen_through(tmp_path):
    class Wrapped(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self._orig_mod = inner

    with Tracker([Sparsity()], EveryN(1), tmp_path / "r", data=small_set()) as tracker:
        tracker.step(Wrapped(small_model()), 0)
    assert open_training(tmp_path / "r").record["model"]["name"] == "Sequential"
