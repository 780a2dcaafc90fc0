"""What a tracker meets in the middle of a training is warned of or recorded; one writer; nothing begun is lost."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import FileError
from cutaway.instruments import Accuracy
from cutaway.training import EveryN, TimeBudget, Tracker, open_training
from cutaway.training.told import save_weights

INPUTS = torch.rand(24, 6, generator=torch.Generator().manual_seed(0))
DATA = Dataset(name="d", inputs=INPUTS, labels=torch.arange(24) % 3)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def tracker(folder, schedule=None, **more) -> Tracker:
    return Tracker([Accuracy()], schedule or EveryN(2), folder, data=DATA, **more)


@pytest.mark.parametrize(
    "steps", [np.arange(5), np.arange(5, dtype=np.uint8), torch.arange(5), [0.0, 1.0, 2.0, 3.0, 4.0]]
)
def test_steps_are_numbers_of_numpy_and_torch(tmp_path, steps):
    settings = {"rate": np.float32(0.5), "n": np.int64(3), "on": np.bool_(True), "all": np.arange(2)}
    with tracker(tmp_path / "r", settings=settings) as watched:
        for step in steps:
            watched.step(model(), step, loss=np.array([0.5]), learning_rate=np.float32(0.25))
    run = open_training(tmp_path / "r")
    assert [t.step for t in run.readings] == [0, 2, 4]
    assert run.scalars["loss"][1].tolist() == [0.5] * 5
    assert run.record["settings"] == {"rate": 0.5, "n": 3, "on": True, "all": [0, 1]}


def test_warnings_turned_into_errors_end_no_training(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with tracker(tmp_path / "r") as watched:
            for step, loss in enumerate([1.0, float("nan"), 1.0]):
                watched.step(model(), step, loss=loss)
            watched.step(model(), 1)
            watched.step(model(), 4)
    run = open_training(tmp_path / "r")
    assert [e["what"] for e in run.events] == ["nan", "not-recorded", "finished"]
    assert run.last_step == 4


def test_a_second_training_goes_on_or_has_a_folder_of_its_own(tmp_path):
    watched = tracker(tmp_path / "r")
    for first, last in ((0, 4), (5, 6)):
        watched.begin(max(first - 1, 0))  # a trainer tells the step it stands at
        for step in range(first, last + 1):
            watched.step(model(), step)
        watched.close()
    assert open_training(tmp_path / "r").last_step == 6
    with pytest.warns(UserWarning, match="run ended at step 6; found a training that begins at step 0.*r-2"):
        watched.begin(0)
    watched.step(model(), 0)
    watched.close()
    assert open_training(tmp_path / "r").last_step == 6
    assert open_training(tmp_path / "r-2").finished


def test_a_second_writer_is_refused_until_the_first_is_done(tmp_path):
    first = tracker(tmp_path / "r")
    first.step(model(), 0)
    with pytest.raises(FileError, match=r"found another writer \(process \d+ on .*expected one writer at a time"):
        tracker(tmp_path / "r", resume=True).step(model(), 1)
    first.close()
    with tracker(tmp_path / "r", resume=True) as second:
        second.step(model(), 1)


def killed(*_):
    raise KeyboardInterrupt


def test_a_kill_in_a_measurement_leaves_no_checkpoint_without_its_readings(tmp_path, monkeypatch):
    watched = tracker(tmp_path / "r", checkpoints=EveryN(2))
    whole = [watched.step(model(), step) for step in range(2)]
    monkeypatch.setattr(watched._measuring, "one", killed)
    with pytest.raises(KeyboardInterrupt):
        watched.step(model(), 2)
    assert whole == [True, False]
    watched._writer.close()
    cut = open_training(tmp_path / "r")
    assert cut.missing == ((2, "data", "accuracy"),) and list(cut.checkpoints) == [0]
    with tracker(tmp_path / "r", checkpoints=EveryN(2), resume=True) as again:
        for step in (1, 2):  # from the newest checkpoint, as a loop does it
            again.step(model(), step)
    run = open_training(tmp_path / "r")
    assert ([t.step for t in run.readings], list(run.checkpoints), run.missing) == ([0, 2], [0, 2], ())


def test_a_checkpoint_whose_measurement_a_kill_left_out_is_measured_by_the_next_tracker(tmp_path, monkeypatch):
    watched = tracker(tmp_path / "r", checkpoints=EveryN(2))
    for step in range(2):
        watched.step(model(), step)
    monkeypatch.setattr(watched._measuring, "one", killed)
    with pytest.raises(KeyboardInterrupt):
        watched.step(model(), 2)
    save_weights(model(), watched.folder / "checkpoints" / "step-00000002.safetensors", {"step": "2"})  # its own loop's
    watched._writer.close()
    assert open_training(tmp_path / "r").missing == ((2, "data", "accuracy"),)
    other = model()
    with torch.no_grad():
        other[2].bias[0] += 5.0
    with tracker(tmp_path / "r", checkpoints=EveryN(2), resume=True) as watched:
        watched.step(other, 3)
    run = open_training(tmp_path / "r")
    assert [t.step for t in run.readings] == [0, 2]
    assert run.missing == ()
    for series in run.series.values():
        assert series.value[0] == series.value[1], "measured on the weights of the checkpoint"
    with tracker(tmp_path / "other") as watched:
        watched.step(other, 0)
    values = [s.value[0] for s in open_training(tmp_path / "other").series.values()]
    assert values != [s.value[1] for s in run.series.values()], "other weights give other figures"


def test_an_exception_in_the_loop_marks_the_run_failed_and_writes_what_was_told(tmp_path):
    def loop():
        with tracker(tmp_path / "r") as watched:
            for step in range(3):
                watched.step(model(), step, loss=float(step))
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        loop()
    run = open_training(tmp_path / "r")
    assert not run.finished
    assert [(e["what"], e["reason"]) for e in run.events] == [("failed", "RuntimeError: out of memory")]
    assert run.scalars["loss"][1].tolist() == [0.0, 1.0, 2.0]


def test_a_short_loop_has_a_first_and_a_last_reading_and_says_why_no_more(tmp_path):
    watched, network = tracker(tmp_path / "r", TimeBudget(1e-6)), model()
    for step in range(200):
        watched.step(network, step)
    with pytest.warns(UserWarning, match="2 measurements in 199 steps: one takes .* give a larger share"):
        watched.close()
    run = open_training(tmp_path / "r")
    assert [t.step for t in run.readings] == [0, 199]
    assert [e["what"] for e in run.events] == ["few-readings", "finished"]


def test_a_tracker_left_open_is_flushed_at_the_end_of_the_process_or_fails_with_its_exception(tmp_path, monkeypatch):
    from cutaway.training import endings

    monkeypatch.setattr(endings, "_OPEN", type(endings._OPEN)())
    left, died = tracker(tmp_path / "left"), tracker(tmp_path / "died")
    for step in range(2):
        left.step(model(), step, loss=1.0)
    endings._at_exit()
    assert open_training(tmp_path / "left").last_step == 1 and not open_training(tmp_path / "left").events
    left.close()
    for step in range(2):
        died.step(model(), step, loss=1.0)
    monkeypatch.setattr(endings.sys, "last_value", RuntimeError("boom"), raising=False)
    endings._at_exit()
    run = open_training(tmp_path / "died")
    assert [(e["what"], e["reason"]) for e in run.events] == [("failed", "RuntimeError: boom")]
    assert run.last_step == 1 and len(open_training(tmp_path / "left").events) == 1, "it was closed before"


def test_a_folder_that_is_moved_keeps_its_scalars_and_gets_no_twin(tmp_path):
    watched = tracker(tmp_path / "r")
    watched.step(model(), 0, loss=1.0)
    (tmp_path / "r").rename(tmp_path / "moved")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for step in range(1, 6):
            watched.step(model(), step, loss=1.0)
        watched.close()
    assert "was moved or deleted while it is written" in str(said[0].message) and len(said) == 1
    run = open_training(tmp_path / "moved")
    assert not (tmp_path / "r").exists() and run.last_step == 5
    assert [t.step for t in run.readings] == [0] and run.readings[0].file.exists()
    assert [e["what"] for e in run.events] == ["not-recorded", "finished"]


def test_a_folder_that_cannot_be_written_is_refused_with_its_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="file/r.*Name another folder"):
        tracker(tmp_path / "file" / "r").step(model(), 0)
