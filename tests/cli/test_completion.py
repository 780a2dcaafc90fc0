"""Shell completion: the script knows every command and option, and bash completes with it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cutaway.cli import commands, run


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """Written by a process of its own, which says whether torch was loaded."""
    path = tmp_path_factory.mktemp("completion") / "cutaway.bash"
    code = "import sys; from cutaway.cli import run; run(['completion', 'bash']); sys.exit('torch' in sys.modules)"
    path.write_text(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    return path


def completed(script, line):
    """What bash offers for the last word of `line`."""
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    words = line.split(" ")
    ask = (
        f"source {script}; COMP_WORDS=({' '.join(w or chr(39) * 2 for w in words)}); COMP_CWORD={len(words) - 1}; "
        f'COMP_LINE="{line}"; COMP_POINT=${{#COMP_LINE}}; _cutaway; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return {word.strip() for word in done.stdout.split("\n")} - {""}


def test_bash_completes_commands(script):
    assert completed(script, "cutaway ") >= set(commands())
    assert completed(script, "cutaway sc") == {"scan"}
    assert completed(script, "cutaway guard e") == {"evaluate", "explain"}


def test_bash_completes_options(script):
    assert completed(script, "cutaway scan --resu") == {"--resume"}
    assert completed(script, "cutaway certify --rad") == {"--radius"}
    assert "--fpr" in completed(script, "cutaway guard fit --")


def test_it_is_installed_where_the_shell_looks(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert run(["completion", "bash", "--install", "--json"]) == 0
    path = json.loads(capsys.readouterr().out)["path"]
    assert path.startswith(str(tmp_path)) and "complete -F _cutaway cutaway" in Path(path).read_text()
    assert path in (tmp_path / ".bashrc").read_text()


def test_another_shell_is_refused(capsys):
    assert run(["completion", "tcsh"]) == 2
    assert "bash" in capsys.readouterr().err


def test_bash_completes_the_names_of_instruments_and_reproductions(script):
    assert completed(script, "cutaway measure boundary-d") == {"boundary-distance"}
    assert completed(script, "cutaway instruments local") == {"local-complexity"}
    assert completed(script, "cutaway reproduce splinec") == {"splinecam"}
    assert completed(script, "cutaway measure boundary-distance --pl") == {"--plot"}
