"""`cutaway fit`: a recipe becomes a run folder; cut at any moment it goes on and ends with the same bits."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cutaway.cli import run as command
from cutaway.data import load_data
from cutaway.errors import FileError, InputError, WorkError
from cutaway.network.sources import load_model
from cutaway.training import fit as module
from cutaway.training.fit import fit
from cutaway.training.store import open_training

RECIPE = """
name = "tiny"
[data]
name = "digits"
num = 120
[model]
name = "mlp"
width = 16
batch_norm = true
[training]
steps = {steps}
batch = 32
learning_rate = 3e-3
schedule = "cosine"
[adversary]
name = "free"
radius = 0.05
[checkpoints]
points = 3
"""
TRACKER = """
[tracker]
points = 5
num = 20
[[tracker.instruments]]
name = "accuracy"
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE.format(steps=60))
    return path


def last_weights(folder):
    state = load_file(sorted((folder / "checkpoints").glob("*.safetensors"))[-1])
    return {key: state[key] for key in sorted(state)}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_command_prints_the_promised_keys(recipe, tmp_path, capsys):
    recipe.write_text(recipe.read_text() + TRACKER)
    assert command(["fit", str(recipe), "--out", str(tmp_path / "run"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["run"] == str(tmp_path / "run")
    assert [os.path.basename(p) for p in told["checkpoints"]] == [
        f"step-{step:08d}.safetensors" for step in (0, 1, 8, 60)
    ]
    score = told["final"]["test"]
    assert 0.2 < score["low"] < score["accuracy"] < score["high"] < 1
    assert score["rows"] == 364
    model = load_model(told["model"]).model
    data = load_data("digits", split="test")
    right = (model(data.inputs).argmax(dim=1) == data.labels).float().mean()
    assert float(right) == pytest.approx(score["accuracy"])
    run = open_training(tmp_path / "run")
    assert run.finished and run.last_step == 60
    assert "train/accuracy/accuracy" in run.series
    assert not (tmp_path / "run" / "resume.pt").exists()
    assert (tmp_path / "run" / "recipe.toml").read_text() == recipe.read_text()


def test_the_order_of_the_examples_is_recorded_from_the_first_step(recipe, tmp_path):
    fit(recipe, tmp_path / "run")
    order = dict(open_training(tmp_path / "run").order())
    assert sorted(order) == list(range(1, 61))
    epoch = np.concatenate([order[step] for step in (1, 5, 9, 13)])  # free training takes each batch four times
    assert sorted(epoch.tolist()) == list(range(120))
    assert order[1].tolist() == order[4].tolist() != order[5].tolist()


def test_reordered_it_is_the_same_training_in_another_order(recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit(recipe, "mine")
    assert command(["fit", str(recipe), "--reorder", "--json"]) == 0
    run = Path(json.loads(capsys.readouterr().out)["run"])
    assert run.name.endswith("-reordered") and "another order" in (run / "recipe.toml").read_text()
    first, second = (load_file(Path(f) / "checkpoints" / "step-00000000.safetensors") for f in ("mine", run))
    assert same(first, second) and not same(last_weights(Path("mine")), last_weights(run))
    one, other = (dict(open_training(f).order()) for f in ("mine", run))
    assert sorted(one[1].tolist()) != sorted(other[1].tolist()) and one.keys() == other.keys()


@pytest.mark.parametrize("cut", [1, 23])
def test_cut_and_resumed_ends_with_the_same_bits(recipe, tmp_path, cut, monkeypatch):
    fit(recipe, tmp_path / "whole")
    monkeypatch.setattr(module, "SAFE_SECONDS", 0.0)
    monkeypatch.setattr(module, "SAVING_SHARE", 1e9)

    def stop(step, steps, loss):
        if step == cut:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(recipe, tmp_path / "cut", progress=stop)
    assert (tmp_path / "cut" / "resume.pt").exists() == (cut > 1)
    fitted = fit(recipe, tmp_path / "cut", resume=True)
    assert same(last_weights(tmp_path / "whole"), last_weights(tmp_path / "cut"))
    runs = [open_training(tmp_path / name) for name in ("whole", "cut")]
    assert [r.finished for r in runs] == [True, True]
    steps, losses = (np.array([r.scalars["loss"][k] for r in runs]) for k in (0, 1))
    assert (steps[0] == steps[1]).all() and (losses[0] == losses[1]).all()
    orders = [dict(r.order()) for r in runs]
    assert all(np.array_equal(orders[0][s], orders[1][s]) for s in range(1, 61))
    assert fitted.final == fit(recipe, tmp_path / "cut", resume=True).final


KILLS = """
import os, random, signal, time
from cutaway.training import fit as module, open_training

module.SAFE_SECONDS, module.SAVING_SHARE, draw = 0.05, 1e9, random.Random(0)
for _ in range(2):
    told, tell = os.pipe()
    child = os.fork()  # before this process has threads of its own
    if child == 0:
        slow = lambda step, steps, loss: (os.write(tell, b"%d " % step), time.sleep(0.003 if step < 250 else 1.0))
        module.fit({recipe!r}, {cut!r}, resume=True, progress=slow)
        os._exit(0)
    os.close(tell)
    print(os.read(told, 100).split()[0].decode())
    time.sleep(draw.uniform(0.05, 0.6))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, "the training was still at work"
    open_training({cut!r})  # readable at any moment
"""


def test_killed_at_random_moments_it_goes_on_to_the_same_bits(tmp_path):
    """SIGKILL, twice at moments drawn with a fixed seed."""
    recipe = tmp_path / "long.toml"
    recipe.write_text(RECIPE.format(steps=500))
    fit(recipe, tmp_path / "whole")
    code = KILLS.format(recipe=str(recipe), cut=str(tmp_path / "cut"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[-1]) > 1, "it goes on instead of starting again"
    fit(recipe, tmp_path / "cut", resume=True)
    assert same(last_weights(tmp_path / "whole"), last_weights(tmp_path / "cut"))
    steps, _ = open_training(tmp_path / "cut").scalars["loss"]
    assert steps.tolist() == list(range(1, 501))


def test_ctrl_c_keeps_what_is_done(tmp_path):
    recipe = tmp_path / "long.toml"
    recipe.write_text(RECIPE.format(steps=1_000_000) + TRACKER)
    arguments = ["fit", str(recipe), "--out", str(tmp_path / "run")]
    process = subprocess.Popen([sys.executable, "-m", "cutaway", *arguments], stderr=subprocess.PIPE, text=True)
    try:
        while not (tmp_path / "run" / "checkpoints" / "step-00000001.safetensors").exists() and process.poll() is None:
            time.sleep(0.05)  # for as long as a test may take
        process.send_signal(signal.SIGINT)
        _, words = process.communicate(timeout=180)
    finally:
        process.kill()  # where SIGINT is not heard
    assert process.returncode == 130
    assert "stopped; what was finished is kept" in words
    assert "Traceback" not in words
    assert open_training(tmp_path / "run").readings


def test_a_full_disk_is_told_and_leaves_the_last_safe_point(recipe, tmp_path, monkeypatch):
    from cutaway.training.loop import State

    state = State(step=1, model={"w": torch.zeros(2)}, optimiser={})
    module.write_state(state, tmp_path / "resume.pt", seconds=1.0)
    before = (tmp_path / "resume.pt").read_bytes()

    def full(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(FileError, match=r"resume.pt.*No space left on device.*Free some space"):
        module.write_state(State(step=2, model={}, optimiser={}), tmp_path / "resume.pt")
    assert (tmp_path / "resume.pt").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []


def test_folders_that_are_not_this_run(recipe, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"found other files; expected an empty or new folder"):
        fit(recipe, tmp_path / "other")
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["notes.txt"]
    fit(recipe, tmp_path / "run")
    with pytest.raises(InputError, match=r"found a finished run; expected a new folder. Give --resume"):
        fit(recipe, tmp_path / "run")
    recipe.write_text(recipe.read_text().replace("batch = 32", "batch = 31"))
    with pytest.raises(InputError, match=r"another recipe \(it differs in training.batch: 32 there, 31 here\)"):
        fit(recipe, tmp_path / "run", resume=True)
    record = json.loads((tmp_path / "run" / "fit.json").read_text())
    (tmp_path / "run" / "fit.json").write_text(json.dumps(record | {"format": 99}))
    with pytest.raises(FileError, match="found format 99; expected 1 or older. Update Cutaway"):
        fit(recipe, tmp_path / "run", resume=True)
    (tmp_path / "run" / "fit.json").write_text("{")
    with pytest.raises(FileError, match=r"a broken fit.json"):
        fit(recipe, tmp_path / "run", resume=True)


def test_a_seed_beside_the_recipe(recipe, tmp_path, capsys):
    runs = {seed: tmp_path / f"seed{seed}" for seed in (0, 1)}
    for seed, folder in runs.items():
        assert command(["fit", str(recipe), "--out", str(folder), "--seed", str(seed)]) == 0
    assert f"cutaway scan {runs[1]}" in capsys.readouterr().out
    assert not same(last_weights(runs[0]), last_weights(runs[1]))
    assert same(last_weights(runs[0]), last_weights(fit(recipe, tmp_path / "plain").folder))
    with pytest.raises(InputError, match=r"it differs in seed: 1 there, 0 here"):
        fit(recipe, runs[1], resume=True)
    assert (runs[1] / "recipe.toml").read_text().startswith("# run with seed 1")


def test_a_broken_safe_point_is_told(recipe, tmp_path):
    def stop(step, steps, loss):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(recipe, tmp_path / "run", progress=stop)
    (tmp_path / "run" / "resume.pt").write_bytes(b"half")
    with pytest.raises(FileError, match=r"resume.pt'; found not a complete file.*Remove it to start"):
        fit(recipe, tmp_path / "run", resume=True)


def test_a_loss_that_is_not_finite(recipe, tmp_path):
    recipe.write_text(
        recipe.read_text().replace("learning_rate = 3e-3", "learning_rate = 1e30").replace("batch_norm = true", "")
    )
    with pytest.warns(UserWarning, match="the loss is"), pytest.raises(WorkError, match="expected a finite loss"):
        fit(recipe, tmp_path / "run")
    assert any(e["what"] == "nan" for e in open_training(tmp_path / "run").events)


def test_exit_code_and_words_of_the_command(recipe, tmp_path, capsys):
    recipe.write_text(recipe.read_text().replace("width", "widht"))
    assert command(["fit", str(recipe), "--out", str(tmp_path / "run")]) == 2
    words = capsys.readouterr().err
    assert "Did you mean 'width'?" in words
    assert "Traceback" not in words
    assert not (tmp_path / "run").exists()


def test_a_users_factory(recipe, tmp_path):
    (tmp_path / "nets.py").write_text(
        "from torch import nn\ndef make(width):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))\n"
    )
    file = tmp_path / "nets.py"
    old = 'name = "mlp"\nwidth = 16\nbatch_norm = true'
    recipe.write_text(recipe.read_text().replace(old, f'factory = "{file}:make(5)"'))
    fitted = fit(recipe, tmp_path / "run")
    again = fit(recipe, tmp_path / "again")
    assert same(last_weights(fitted.folder), last_weights(again.folder))
    assert fitted.model == f"{file}:make(5) --weights {fitted.checkpoints[-1]}"
    assert load_model(f"{file}:make(5)", weights=fitted.checkpoints[-1]).model[1].out_features == 5
    with pytest.raises(InputError, match=r"weights of the factory .*nets.py:make\(5\).*--weights"):
        load_model(fitted.checkpoints[-1])


@pytest.mark.parametrize("device", ["gpu", "cuda:77"])
def test_a_device_that_is_not_there_leaves_no_folder(recipe, tmp_path, capsys, device):
    assert command(["fit", str(recipe), "--out", str(tmp_path / "run"), "--device", device]) == 2
    assert f"device '{device}'" in capsys.readouterr().err
    recipe.write_text(recipe.read_text().replace("batch = 32", f'batch = 32\ndevice = "{device}"'))
    assert command(["fit", str(recipe), "--out", str(tmp_path / "run")]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ("nn.Flatten(), nn.Linear(7, 10)", "mat1 and mat2 shapes cannot be multiplied"),
        ("nn.Conv2d(3, 10, 3)", "for inputs of shape"),
        ("nn.Flatten(), nn.Linear(64, 9)", "expected (2, 10): one score a class"),
        ("nn.Flatten(0), nn.Linear(128, 10)", "found outputs of shape (10,) for 2 rows"),
    ],
)
def test_a_factory_that_does_not_fit_the_data_leaves_no_folder(recipe, tmp_path, capsys, layers, words):
    (tmp_path / "nets.py").write_text(f"from torch import nn\ndef make():\n    return nn.Sequential({layers})\n")
    old = 'name = "mlp"\nwidth = 16\nbatch_norm = true'
    recipe.write_text(recipe.read_text().replace(old, f'factory = "{tmp_path / "nets.py"}:make"'))
    assert command(["fit", str(recipe), "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told
    assert not (tmp_path / "run").exists()


def test_batches_of_one_row_under_batch_norm(recipe, tmp_path, capsys):
    text = recipe.read_text().replace("steps = 60", "steps = 5")
    recipe.write_text(text.replace("batch = 32", "batch = 1"))
    assert command(["fit", str(recipe), "--out", str(tmp_path / "run")]) == 2
    assert "batch of the training; found 1 row (120 in the data) under batch norm" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    text = text.replace('[adversary]\nname = "free"\nradius = 0.05\n', "")
    recipe.write_text(text.replace("batch = 32", "batch = 17").replace("steps = 5", "steps = 9"))
    fit(recipe, tmp_path / "joined")
    counts = [len(rows) for _, rows in open_training(tmp_path / "joined").order()]
    assert counts == [17] * 6 + [18, 17, 17]  # 120 = 7 x 17 + 1


class TestCheckpoints:
    def test_scan_opens_one(self, recipe, tmp_path, capsys):
        fitted = fit(recipe, tmp_path / "run")
        target = ["--data", "digits", "--num", "40", "--only", "accuracy", "--nulls", "0", "--json"]
        assert command(["scan", fitted.model, *target, "--out", str(tmp_path / "scan")]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["readings"][0]["instrument"] == "accuracy"

    def test_the_type_of_the_training_is_kept(self, recipe, tmp_path):
        recipe.write_text(recipe.read_text().replace("batch = 32", 'batch = 32\ndtype = "float64"'))
        fitted = fit(recipe, tmp_path / "run")
        model = load_model(fitted.model).model
        assert next(model.parameters()).dtype == torch.float64
        assert same(dict(sorted(model.state_dict().items())), last_weights(fitted.folder))

    def test_without_its_folder_it_says_what_is_needed(self, recipe, tmp_path):
        fitted = fit(recipe, tmp_path / "run")
        moved = tmp_path / "elsewhere" / "w.safetensors"
        moved.parent.mkdir()
        moved.write_bytes(fitted.checkpoints[-1].read_bytes())
        with pytest.raises(InputError, match="weights without an architecture"):
            load_model(moved)

    def test_the_record_in_a_files_own_metadata_is_enough(self, recipe, tmp_path):
        from safetensors.torch import save_file

        fitted = fit(recipe, tmp_path / "run")
        record = (tmp_path / "run" / "model.json").read_text()
        moved = tmp_path / "w.safetensors"
        save_file(last_weights(fitted.folder), moved, metadata={"cutaway.model": record})
        loaded = load_model(moved)
        assert loaded.kind == "checkpoint"
        assert same(dict(sorted(loaded.model.state_dict().items())), last_weights(fitted.folder))

    def test_a_run_folder_opens_at_its_last_checkpoint(self, recipe, tmp_path):
        fitted = fit(recipe, tmp_path / "run")
        assert same(dict(sorted(load_model(tmp_path / "run").model.state_dict().items())), last_weights(fitted.folder))
        for file in fitted.checkpoints:
            file.unlink()
        with pytest.raises(FileError, match="found no checkpoints"):
            load_model(tmp_path / "run")

    def test_damaged_files(self, recipe, tmp_path):
        fitted = fit(recipe, tmp_path / "run")
        fitted.checkpoints[0].write_bytes(fitted.checkpoints[0].read_bytes()[:50])
        with pytest.raises(FileError, match="not a complete file"):
            load_model(fitted.checkpoints[0])
        (tmp_path / "run" / "model.json").write_text('{"later": 1}')
        with pytest.raises(FileError, match="record of a network in .*model.json"):
            load_model(fitted.checkpoints[-1])


def test_a_decoder_learns_characters(tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 200)
    recipe = tmp_path / "text.toml"
    recipe.write_text(f"""
[data]
name = "{tmp_path / "text.txt"}"
length = 16
[model]
name = "char-gpt"
width = 16
depth = 1
heads = 2
[training]
steps = 120
batch = 16
learning_rate = 1e-2
""")
    fitted = fit(recipe, tmp_path / "run")
    letters = set("the cat sat on the mat. ")
    assert fitted.final["test"]["accuracy"] > 0.6 > 2 / len(letters)
    assert fitted.final["test"]["loss"] < 0.5 * np.log(len(letters))
    loaded = load_model(fitted.model)
    assert loaded.model(loaded.example).shape == (2, 16, len(letters))
    assert loaded.tokenizer.text(loaded.tokenizer("mat?")["input_ids"]) == "mat"
    (tmp_path / "text.txt").write_text("short")
    with pytest.raises(InputError, match="text.* expected at least 160"):
        fit(recipe, tmp_path / "again")
