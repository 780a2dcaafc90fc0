"""A scan that is killed, or whose disk is full, keeps what was finished and goes on from there."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cutaway.errors import FileError
from cutaway.instrument import Instrument
from cutaway.instruments import Accuracy, Sparsity
from cutaway.network import Network
from cutaway.reading import Reading
from cutaway.running import open_run, start
from cutaway.scanning import ScanSettings, scan
from cutaway.status import Status
from cutaway.testing.contract import small_classifier, small_data

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def small():
    data = small_data(36)
    return Network(small_classifier(2).eval(), data.inputs[:2], name="tiny"), data


def finished(folder: Path) -> dict[str, int]:
    """The files of a run that are there under their own name, and when they were written."""
    files = [f for sub in ("observed", "nulls", "readings") for f in (folder / sub).glob("[!.]*")]
    return {str(f.relative_to(folder)): f.stat().st_mtime_ns for f in files}


KILLS = """
import os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
from test_kills import Accuracy, ScanSettings, Sparsity, finished, scan, small

draw, run, before, cut = random.Random(0), Path({folder!r}), dict(), 0
subject = small()
for _ in range(10):
    wanted = len(before) + draw.randrange(3)
    child = os.fork()  # before this process has threads of its own
    if child == 0:
        resume = ScanSettings(nulls=30, resume=(run / "run.json").exists())
        scan(*subject, run, instruments=[Accuracy(), Sparsity()], settings=resume)
        os._exit(0)
    while len(finished(run)) < wanted and not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        time.sleep(0.005)
    time.sleep(draw.uniform(0, 0.02))
    os.kill(child, signal.SIGKILL)
    cut += os.waitpid(child, 0)[1] == signal.SIGKILL
    after = finished(run)
    assert {{n: after.get(n) for n in before}} == before, "what was finished is not made again"
    before = after
assert cut == 10 and len(before) > 5, (cut, before)
"""


@pytest.mark.slow
def test_ten_kills_lose_nothing_that_was_finished(tmp_path):
    run, few = tmp_path / "cut", [Accuracy(), Sparsity()]
    code = KILLS.format(here=str(Path(__file__).parent), folder=str(run))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in finished(run):
        Reading.load(run / name) if name.endswith(".zip") else json.loads((run / name).read_text())
    resumed = scan(*small(), run, instruments=few, settings=ScanSettings(nulls=30, resume=True))
    whole = scan(*small(), tmp_path / "whole", instruments=few, settings=ScanSettings(nulls=30))
    assert [(f.name, f.value, f.p_value) for r in resumed.readings for f in r.figures] == [
        (f.name, f.value, f.p_value) for r in whole.readings for f in r.figures
    ]


def test_a_kill_while_the_record_is_written_leaves_a_folder_that_a_scan_takes(subject, few, tmp_path):
    run = tmp_path / "run"
    child = os.fork()
    if child == 0:
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        start(run, {"key": "k", "format": 1}, resume=False)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert [f.name for f in run.iterdir()] and not (run / "run.json").exists()
    assert len(scan(*subject, run, instruments=few, settings=ScanSettings(nulls=0)).readings) == 2


@pytest.fixture
def disk(tmp_path):
    """A disk of our own of 200 KB, and a function that makes it larger."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs can be mounted here (needs root)")
    yield folder, lambda: subprocess.run(["mount", "-o", "remount,size=20m", str(folder)], check=True)
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_ends_a_scan_with_its_name_and_keeps_what_was_finished(subject, few, tmp_path, disk):
    folder, grow = disk
    whole = scan(*subject, tmp_path / "whole", instruments=few, settings=ScanSettings(nulls=25))
    scan(*subject, folder / "run", instruments=few, settings=ScanSettings(nulls=0))
    shutil.rmtree(folder / "run")
    space = os.statvfs(folder)
    (folder / "ballast").write_bytes(bytes((space.f_bavail - 14) * space.f_frsize))
    with pytest.raises(FileError, match=r"writing '.*run.*found No space left on device.*Free some space"):
        scan(*subject, folder / "run", instruments=few, settings=ScanSettings(nulls=25))
    kept = finished(folder / "run")
    assert kept and not list((folder / "run").rglob("*.part"))
    assert all(r.status != Status.FAILED for r in open_run(folder / "run").readings)
    grow()
    resumed = scan(*subject, folder / "run", instruments=few, settings=ScanSettings(nulls=25, resume=True))
    after = finished(folder / "run")
    assert {n: after[n] for n in kept} == kept
    assert [f.p_value for r in resumed.readings for f in r.figures] == [
        f.p_value for r in whole.readings for f in r.figures
    ]


class Raises(Instrument):
    """Raises what it was given."""

    name, question, source, needs = "raises", "What happens then?", "none", frozenset({"inputs"})
    error: Exception = RuntimeError("nothing")

    def _measure(self, network, data, context):
        raise self.error


@pytest.mark.parametrize("error", [OSError(5, "a broken pipe"), FileError("a table of its own"), SystemError("x")])
def test_whatever_an_instrument_raises_is_its_failed_reading(subject, tmp_path, monkeypatch, error):
    monkeypatch.setattr(Raises, "error", error)
    run = scan(
        *subject, tmp_path / "run", instruments=[Raises(), Accuracy(), Sparsity()], settings=ScanSettings(nulls=0)
    )
    assert [r.status == Status.FAILED for r in run.readings] == [True, False, False]
    assert run.failed
