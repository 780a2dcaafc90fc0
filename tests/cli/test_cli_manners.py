"""Small manners of the command line: refusals before the work, one JSON object whatever the user's code prints, files
where `--out` says, words instead of names of exceptions."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cutaway.cli import run
from cutaway.errors import FileError, InputError
from cutaway.instruments import Accuracy, LocalComplexity, RobustAccuracy
from cutaway.report.training_page import state
from cutaway.running import open_run
from cutaway.testing.contract import small_classifier, small_data
from cutaway.training.store import open_training

FACTORY = """
from torch import nn
print("a chatty module")
def make():
    print("a chatty factory")
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8), nn.ReLU(),
                         nn.Linear(8, 3))
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with a factory, weights that fit it, and data."""
    (tmp_path / "chatty_nets.py").write_text(FACTORY)
    save_file(small_classifier().state_dict(), tmp_path / "w.safetensors")
    data = small_data(30)
    np.savez(tmp_path / "d.npz", x=data.inputs.numpy(), y=data.labels.numpy())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(capsys, *arguments):
    code = run([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_module_in_the_working_folder_and_what_it_prints(capsys, place, monkeypatch):
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(place))])
    code, out, err = call(
        capsys, "measure", "accuracy", "chatty_nets:make", "--weights", "w.safetensors", "--data", "d.npz", "--json"
    )
    assert code == 0
    assert json.loads(out)["readings"][0]["name"] == "accuracy" and json.loads(out)["samples"] == 30
    assert "a chatty module" in err and "a chatty factory" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--plot", "x.bmp"], "--plot; found x.bmp; expected a file name that ends in .png"),
        (["--plot", "nowhere/x.png"], "found no folder nowhere"),
        (["--nulls", "-1"], "option --nulls; found -1"),
        (["--nulls", "1", "--engine", "lokky"], "Did you mean 'loky'?"),
        (["--set", "radius=-1"], "setting 'radius' of instrument 'local-complexity'; found -1; expected a finite number, "
         "at least 0"),
        (["--set", "radius=abc"], "found 'abc'; expected a finite number"),
        (["--set", "num_points=0"], "expected a whole number, at least 1"),
        (["--set", "radius=0.1", "num_points=0"], "expected a whole number, at least 1"),
        (["--set", "radius=0.1", "other.py:make"], "setting 'other.py:make'"),
        (["--set", "num_directions=2.5"], "found 2.5; expected a whole number"),
        (["--set", "float64=1"], "expected True or False"),
    ],
)  # fmt: skip
def test_measure_refuses_before_the_work(capsys, place, arguments, words):
    before = sorted(place.iterdir())
    code, _, err = call(
        capsys,
        "measure",
        "local-complexity",
        "chatty_nets.py:make",
        "--data",
        "d.npz",
        "--out",
        "lc.zarr.zip",
        *arguments,
    )
    assert code == 2 and words in err and "Traceback" not in err
    assert sorted(p for p in place.iterdir() if p.name != "__pycache__") == before


def test_settings_without_sense_are_refused_in_python_too():
    for wrong in (RobustAccuracy(radius=float("nan")), LocalComplexity(num_points=-3), Accuracy(bins="many")):  # pyright: ignore[reportArgumentType]
        with pytest.raises(InputError, match="its default is|Its default is"):
            wrong.measure(small_classifier(), small_data(12))
    assert RobustAccuracy(steps=None, radius=0).measure(small_classifier(), small_data(12)).figures


def test_reading_says_how_many_rows_it_read(capsys, place):
    code, out, _ = call(
        capsys, "measure", "local-complexity", "chatty_nets.py:make", "--data", "d.npz", "--set", "num_points=7"
    )
    assert code == 0 and "read 7 of 30 rows" in out
    assert LocalComplexity(num_points=7).measure(small_classifier(), small_data(30)).coverage.samples == 7


def test_output_that_cannot_be_written_is_told_without_a_traceback(capsys, place):
    (place / "file").write_text("")
    torch.save({}, place / "x.pt")
    (place / "plane.py").write_text(
        "from torch import nn\ndef net(): return nn.Sequential(nn.Linear(2, 3), nn.ReLU())\n"
    )
    code, out, err = call(capsys, "slice", "plane.py:net", "--domain", "-1,1,-1,1", "--out", "file/below/x", "--json")
    assert code == 2 and "Traceback" not in err and "file/below" in err
    assert json.loads(out)["code"] == 2


def test_certify_writes_its_answer_where_out_says(capsys, place):
    code, out, _ = call(
        capsys, "certify", "chatty_nets.py:make", "--weights", "w.safetensors", "--data", "d.npz", "--radius", "0.001",
        "--num", "3", "--out", "deep/answer.json", "--json",
    )  # fmt: skip
    assert code == 0
    kept = json.loads((place / "deep" / "answer.json").read_text())
    assert {"clean", "attacked", "certified", "intervals", "seconds"} <= set(kept)
    assert kept | {"out": "deep/answer.json"} == json.loads(out)


def test_group_without_a_command_is_bad_input(capsys):
    for group in ("theory", "guard"):
        code, out, err = call(capsys, group, "--json")
        assert code == 2 and json.loads(out)["code"] == 2 and "a command of it is needed" in err
        assert call(capsys, group, "--help")[0] == 0


def test_run_folders_that_are_none_are_told_in_words(capsys, place):
    (place / "empty").mkdir()
    (place / "broken").mkdir()
    (place / "broken" / "run.json").write_text("{")
    (place / "list").mkdir()
    (place / "list" / "run.json").write_text("[]")
    for open_it in (open_run, open_training):
        for name, words in (
            ("nowhere", "no such folder"), ("empty", "no run.json in it"), ("broken", "a broken run.json"),
            ("d.npz", "a file"), ("list", "broken run.json|no record|another kind"),
        ):  # fmt: skip
            with pytest.raises(FileError, match=words):
                open_it(place / name)
    (place / "list" / "run.json").write_text('{"kind": "training", "format": 1}')
    code, _, err = call(capsys, "compare", "list", "list")
    assert code == 2 and "a tracked training run" in err and "list/checkpoints" in err


def test_misspelt_key_of_a_recipe_is_named_before_the_one_that_is_missing(capsys, place):
    (place / "r.toml").write_text('[data]\nname = "digits"\n[model]\nname = "mlp"\n[training]\nstepz = 20\n')
    code, _, err = call(capsys, "fit", "r.toml")
    assert code == 2 and "key 'training.stepz'; found no such key" in err and "Did you mean 'steps'?" in err


def test_warnings_are_told_without_the_line_they_come_from(place):
    command = [
        sys.executable, "-m", "cutaway", "measure", "robust-accuracy", "chatty_nets.py:make", "--data", "d.npz", "--set",
        "radius=8", "--set", "steps=1",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "warning: radius of attack 'pgd'" in done.stderr and "base.py" not in done.stderr


def test_run_stopped_by_hand_is_not_called_failed():
    def run_with(reason):
        return SimpleNamespace(events=[{"what": "resumed"}, {"what": "failed", "reason": reason}])

    assert state(run_with("KeyboardInterrupt: ")) == "stopped by hand; --resume goes on"  # pyright: ignore[reportArgumentType]
    assert state(run_with("WorkError: a loss of nan")) == "failed: WorkError: a loss of nan"  # pyright: ignore[reportArgumentType]


def test_a_radius_that_nothing_reads_is_refused(capsys, place):
    words = ("chatty_nets.py:make", "--data", "d.npz", "--only", "accuracy", "--radius", "nan", "--out", "run")
    code, _, err = call(capsys, "scan", *words)
    assert code == 2 and "option --radius; found no instrument that attacks" in err and not (place / "run").exists()


def test_scan_that_cannot_be_done_leaves_no_folder(capsys, place):
    images = np.load("d.npz")
    np.savez("far.npz", x=images["x"], y=images["y"] + 5)
    for data, more, words in (("far.npz", [], "found class 7"), ("d.npz", ["--radius", "-1"], "setting 'radius'")):
        code, _, err = call(
            capsys, "scan", "chatty_nets.py:make", "--data", data, "--nulls", "0", "--out", "run", "--only", "accuracy",
            "--only", "robust-accuracy", *more,
        )  # fmt: skip
        assert code == 2 and words in err
        assert not (place / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("slice", "x.onnx", "--domain=-1,1,-1,1", "--device", "cuda"), "option --device; found cuda; expected cpu"),
        (("slice", "x.onnx", "--domain=-1,1,-1,1", "--dtype", "float32"), "found float32; expected float64"),
        (("slice", "x.onnx", "--domain=-1,1,-1,1", "--pad", "2"), "both --pad and --domain"),
        (("certify", "x.onnx", "y.vnnlib", "--dtype", "float32"), "found float32; expected float64"),
    ],
)
def test_choices_that_a_guarantee_rules_out_are_refused(capsys, arguments, words):
    assert run([*arguments, "--json"]) == 2
    assert words in json.loads(capsys.readouterr().out)["error"]
