"""The command line as users and scripts meet it: JSON, exit codes, wording."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cutaway.cli import commands, run
from cutaway.testing.contract import small_classifier, small_data


def call(capsys, *arguments):
    code = run([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def model_files(tmp_path):
    """A factory file, its weights and matching data."""
    (tmp_path / "nets.py").write_text(
        textwrap.dedent(
            """
            from torch import nn
            def make():
                return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8),
                                     nn.ReLU(), nn.Linear(8, 3))
            """
        )
    )
    save_file(small_classifier().state_dict(), tmp_path / "w.safetensors")
    data = small_data(30)
    np.savez(tmp_path / "d.npz", x=data.inputs.numpy(), y=data.labels.numpy())
    return tmp_path


def test_import_and_help_load_no_torch():
    code = "import cutaway, sys; from cutaway.cli import run; run(['--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1].startswith("False")
    assert "scan" in done.stdout


HELP = """
import json, os, sys
from cutaway.cli import run
found = {}
for name in sys.argv[1:]:
    child = os.fork()  # each from here on, so that none has what another loaded
    if child == 0:
        run([name, "--help"])
        sys.stdout.flush()
        os._exit(100 if "torch" in sys.modules else 0)
    found[name] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps([found, "torch" in sys.modules]))
"""


@pytest.fixture(scope="module")
def helps():
    """How the process ended that told each command's help: 0 as it should, 100 with torch."""
    words = [sys.executable, "-c", HELP, *commands()]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found, torch_before = json.loads(done.stdout.splitlines()[-1])
    assert not torch_before
    return found


@pytest.mark.parametrize("name", list(commands()))
def test_every_command_has_help_without_torch(name, helps):
    assert helps[name] == 0


def test_scan_json_keys_and_report(capsys, model_files):
    code, out, _ = call(
        capsys, "scan", f"{model_files}/nets.py:make", "--weights", model_files / "w.safetensors", "--data",
        model_files / "d.npz", "--nulls", "2", "--out", model_files / "run", "--json",
    )  # fmt: skip
    assert code == 0
    result = json.loads(out)
    assert {"report", "seconds", "coverage", "readings"} <= set(result)
    assert {"read", "skipped"} <= set(result["coverage"])
    keys = {"instrument", "name", "value", "low", "high", "p_value", "q_value", "status", "unit"}
    assert all(keys <= set(row) for row in result["readings"])
    assert os.path.exists(result["report"])
    code, out, _ = call(capsys, "compare", model_files / "run", model_files / "run", "--json")
    assert code == 0
    assert {"instrument", "name", "a", "b", "p_value"} <= set(json.loads(out)["differences"][0])
    code, out, _ = call(capsys, "report", model_files / "run", "--out", model_files / "again.html", "--json")
    again = json.loads(out)
    assert again["report"].endswith("again.html")
    assert {k: v for k, v in again.items() if k not in ("report", "unread")} == {
        k: v for k, v in result.items() if k != "report"
    }


def test_measure_writes_a_file_and_a_picture(capsys, model_files):
    code, out, _ = call(
        capsys, "measure", "local-complexity", f"{model_files}/nets.py:make",
        "--weights", model_files / "w.safetensors",
        "--data", model_files / "d.npz", "--set", "radius=0.5", "--out", model_files / "r.zarr.zip", "--plot",
        model_files / "r.png", "--nulls", "3", "--json",
    )  # fmt: skip
    result = json.loads(out)
    assert code == 0
    assert result["file"].endswith("r.zarr.zip") and result["plot"].endswith("r.png")
    assert result["readings"][0]["p_value"] is not None
    assert (model_files / "r.png").read_bytes()[:4] == b"\x89PNG"


def test_instruments_lists_name_question_source_needs_cost(capsys):
    code, out, _ = call(capsys, "instruments", "--json")
    rows = json.loads(out)["instruments"]
    assert code == 0
    assert {"accuracy", "local-complexity", "boundary-distance"} <= {r["name"] for r in rows}
    assert all({"name", "question", "source", "needs", "cost"} <= set(r) for r in rows)


def bad(capsys, *arguments):
    code, out, err = call(capsys, *arguments, "--json")
    assert code == 2, err
    assert json.loads(out)["code"] == 2
    assert "Traceback" not in err
    return err


def test_bad_input_has_wording_and_code_two(capsys, model_files):
    net, weights, data = f"{model_files}/nets.py:make", model_files / "w.safetensors", model_files / "d.npz"
    assert "Did you mean '--budget'" in bad(capsys, "scan", "--budgte", "1GB").replace("--budget?", "'--budget'?")
    assert "did you mean 'digits'" in bad(capsys, "scan", net, "--data", "digit").lower()
    spoiled = small_data(6).inputs.numpy().copy()
    spoiled[3, 0, 0, 0] = np.nan
    np.savez(model_files / "nan.npz", x=spoiled, y=np.zeros(6, dtype=int))
    assert "row 3" in bad(capsys, "scan", net, "--data", model_files / "nan.npz")
    np.savez(model_files / "labels.npz", x=small_data(6).inputs.numpy(), y=np.full(6, 7))
    labels = ("--data", model_files / "labels.npz", "--out", model_files / "x")
    assert "found class 7; expected 0 to 2" in bad(capsys, "scan", net, *labels)
    weights.write_bytes(weights.read_bytes()[:-40])
    assert "w.safetensors" in bad(capsys, "scan", net, "--weights", weights, "--data", data)
    torch.save(small_classifier(), model_files / "whole.pt")
    assert "--trust-pickle" in bad(capsys, "scan", model_files / "whole.pt", "--data", data)
    np.savez(model_files / "nhwc.npz", x=np.random.default_rng(0).random((6, 4, 4, 3)), y=np.zeros(6, dtype=int))
    assert "channels" in bad(capsys, "scan", net, "--data", model_files / "nhwc.npz")
    assert "expected one of" in bad(capsys, "measure", "acuracy", net, "--data", data)
    assert "key=value" in bad(capsys, "measure", "accuracy", net, "--data", data, "--set", "bims=3")
    assert "unknown command" in call(capsys, "scna")[2]
    assert "found x" in bad(capsys, "scan", "--null", "x")


def test_nothing_half_written_after_bad_input(capsys, model_files):
    labels = model_files / "labels.npz"
    np.savez(labels, x=small_data(6).inputs.numpy(), y=np.full(6, 7))
    bad(capsys, "scan", f"{model_files}/nets.py:make", "--data", labels, "--out", model_files / "x", "--nulls", "0")
    left = [p.name for p in (model_files / "x").rglob("*") if p.is_file()] if (model_files / "x").exists() else []
    assert not [name for name in left if "part" in name or name == "report.html"]


def default_interrupt():
    """In the child: a background job of a shell ignores SIGINT, and its children would too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_keeps_what_is_finished_and_resume_goes_on(model_files):
    """A real SIGINT to a real process while it draws nulls."""
    command = [
        sys.executable, "-m", "cutaway", "scan", f"{model_files}/nets.py:make", "--weights",
        str(model_files / "w.safetensors"), "--data", str(model_files / "d.npz"), "--nulls",
        "20", "--null", "permuted-labels", "--out", str(model_files / "run"), "--json",
        "--only", "accuracy", "--only", "sparsity", "--only", "local-complexity",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=default_interrupt
    )
    nulls = model_files / "run" / "nulls"
    deadline = time.time() + 90
    while time.time() < deadline and not (nulls.exists() and len(list(nulls.glob("*.json"))) >= 2):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 130, err
    assert "what was finished is kept" in err
    kept = {p.name: p.stat().st_mtime_ns for p in nulls.glob("*.json")}
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert all((nulls / name).stat().st_mtime_ns == when for name, when in kept.items())
    assert json.loads(done.stdout)["readings"]
