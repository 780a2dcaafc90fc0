"""The documented section runs as it stands, from fit to serve, on the real small model."""

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

SECTION = Path(__file__).parents[2] / "docs" / "guard.md"


def _commands() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", SECTION.read_text(encoding="utf-8"), flags=re.S)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]


def test_the_documented_commands_fit_score_evaluate_and_certify(real_data, tmp_path, monkeypatch, capsys):
    from cutaway.cli import run

    monkeypatch.chdir(tmp_path)
    found = {}
    for line in _commands():
        words = [w.replace("$CUTAWAY_DATA", str(real_data)) for w in shlex.split(line)]
        if words[0] != "cutaway" or words[2] == "serve":
            continue
        less = ["--disguised", "6", "--num", "400"] if words[2] == "evaluate" else []
        if less:
            words = [w for w in words if w not in ("--num", "700")]
        assert run([*words[1:], *less, "--json"]) == 0, line
        found[words[2]] = json.loads(capsys.readouterr().out)
    guard = {"fit", "score", "evaluate", "certify"}
    assert set(found) == {*guard, "language-geometry", "intrinsic-dimension"}
    assert all((tmp_path / name).read_text().startswith("<svg") for name in ("blocks.svg", "heads.svg"))
    assert found["fit"]["auroc"] > 0.5 and set(found["fit"]["by_source"]) > {"XSTest"}
    assert len(found["score"]["scores"]) == 2 and found["evaluate"]["rows"] > 60
    assert len(found["evaluate"]["by_group"]) > 10
    assert found["certify"]["certificate"]["status"] in ("certified", "falsified", "unknown")
    assert (tmp_path / "certificate.svg").is_file() and (tmp_path / "guard" / "certificate.json").is_file()
    _serve(tmp_path / "guard")


def _serve(folder):
    """The last block: serve with its certificate, ask once with the documented body, stop."""
    httpx = pytest.importorskip("httpx", reason="needs the extra dev")
    pytest.importorskip("uvicorn", reason="needs the extra serve")
    line = next(c for c in _commands() if c.startswith("cutaway guard serve"))
    body = next(c for c in _commands() if c.startswith("curl"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    words = [port if w == "8000" else w for w in shlex.split(line)[1:]]
    environment = {**os.environ, "CUTAWAY_GUARD_KEY": "letmein"}
    process = subprocess.Popen(
        [sys.executable, "-c", "from cutaway.cli import main; main()", *words], cwd=folder.parent, env=environment
    )
    try:
        while process.poll() is None:  # for as long as a test may take
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/ready", timeout=20).status_code == 200:
                    break
            time.sleep(0.2)
        content = shlex.split(body)[3]
        url = f"http://127.0.0.1:{port}/v1/check"
        assert httpx.post(url, content=content, timeout=60).status_code == 401
        reply = httpx.post(url, content=content, headers={"x-api-key": "letmein"}, timeout=60)
        assert reply.status_code == 200 and reply.json()["certificate"] in ("certified", "falsified", "unknown")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def test_the_documented_python_runs(real_data, tmp_path, capsys):
    code = re.findall(r"```python\n(.*?)```", SECTION.read_text(encoding="utf-8"), flags=re.S)[0]
    exec(compile(code, str(SECTION), "exec"), {"data": real_data, "folder": tmp_path})
    assert capsys.readouterr().out.split()[0] in ("True", "False")
