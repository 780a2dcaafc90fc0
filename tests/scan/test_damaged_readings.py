"""A reading that is damaged, missing or another's is said, and costs no more than itself."""

import json
import re
import shutil

import pytest

from cutaway.cli import run as cutaway
from cutaway.errors import FileError
from cutaway.running import open_run
from cutaway.scanning import ScanSettings, scan
from cutaway.status import Status

SETTINGS = ScanSettings(nulls=6)


@pytest.fixture
def whole(subject, few, tmp_path):
    return scan(*subject, tmp_path / "run", instruments=few, settings=SETTINGS)


def figures(run):
    return [(r.instrument, f.name, f.value, f.p_value) for r in run.readings for f in r.figures]


def cut(file):
    file.write_bytes(file.read_bytes()[:-40])


def flipped(file):
    content = bytearray(file.read_bytes())
    content[content.index(b"figures")] ^= 255
    file.write_bytes(content)


DAMAGE = {
    "cut": (cut, "reading .*accuracy"),
    "flipped": (flipped, "reading .*accuracy"),
    "empty": (lambda file: file.write_bytes(b""), "reading .*accuracy"),
    "of another instrument": (
        lambda file: shutil.copy(file.with_name("sparsity.zarr.zip"), file),
        "found one of another instrument, sparsity; expected accuracy",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_scan_goes_on_over_a_damaged_reading_says_so_and_ends_the_same(whole, subject, few, kind):
    damage, says = DAMAGE[kind]
    damage(whole.folder / "observed" / "accuracy.zarr.zip")
    told, done = [], []
    settings = ScanSettings(nulls=6, resume=True)
    again = scan(*subject, whole.folder, instruments=few, settings=settings, tell=told.append, progress=done.append)
    (warning,) = [text for text in told if "measured again" in text]
    assert re.search(f"^warning: accuracy is measured again: .*{says}", warning), warning
    assert "accuracy: measuring" in done and "sparsity: kept from before" in done
    assert figures(again) == figures(whole)


def test_a_scan_goes_on_over_a_reading_of_another_network(whole, subject, few, tmp_path):
    network, data = subject
    other = scan(network.twin(7), data, tmp_path / "other", instruments=few, settings=ScanSettings(nulls=0))
    shutil.copy(other.folder / "observed" / "accuracy.zarr.zip", whole.folder / "observed")
    told = []
    settings = ScanSettings(nulls=6, resume=True)
    again = scan(*subject, whole.folder, instruments=few, settings=settings, tell=told.append)
    assert any("found one of another network" in text for text in told) and figures(again) == figures(whole)


@pytest.mark.parametrize("content", ["{", "[]", '{"accuracy": [1]}', '{"accuracy": {"accuracy": "high"}}'])
def test_a_damaged_null_replicate_is_said_and_drawn_again(whole, subject, few, content):
    (whole.folder / "nulls" / "0003.json").write_text(content)
    told = []
    settings = ScanSettings(nulls=6, resume=True)
    again = scan(*subject, whole.folder, instruments=few, settings=settings, tell=told.append)
    assert any("0003.json" in text and "It is drawn again" in text for text in told)
    assert figures(again) == figures(whole)


def test_a_plan_that_is_none_is_refused(whole, subject, few):
    record = json.loads((whole.folder / "run.json").read_text())
    (whole.folder / "run.json").write_text(json.dumps(record | {"plan": {"speed": 3}}))
    with pytest.raises(FileError, match="found a plan that is none .* Restore its run.json"):
        scan(*subject, whole.folder, instruments=few, settings=ScanSettings(nulls=6, resume=True))


@pytest.mark.parametrize("kind", [*DAMAGE, "missing"])
def test_the_page_lists_what_could_not_be_read(whole, capsys, kind):
    for stage in ("readings", "observed"):
        file = whole.folder / stage / "accuracy.zarr.zip"
        file.unlink() if kind == "missing" else DAMAGE[kind][0](file)
    assert cutaway(["report", str(whole.folder)]) == 1
    assert "Accuracy could not be read: " in capsys.readouterr().out
    page = (whole.folder / "report.html").read_text()
    listed = page[page.index("What could not be read") :].split("</ul>")[0]
    assert "Accuracy: " in listed and "Everything was read" not in listed
    assert ("no reading of it is in the folder" in listed) == (kind == "missing")
    assert [r.instrument for r in open_run(whole.folder).readings] == ["sparsity"]


def test_a_damaged_final_reading_is_shown_as_measured_and_said(whole):
    cut(whole.folder / "readings" / "accuracy.zarr.zip")
    again = open_run(whole.folder)
    assert [(r.instrument, r.figures[0].p_value is None) for r in again.readings] == [
        ("accuracy", True),
        ("sparsity", False),
    ]
    assert again.unread[0].what == "accuracy"
    assert again.unread[0].reason.endswith("What follows is the reading as measured, without p-values.")


def test_a_run_in_which_nothing_can_be_read_is_refused_with_the_reason(whole):
    for file in whole.folder.glob("*/*.zarr.zip"):
        cut(file)
    with pytest.raises(FileError, match="found no reading that can be read; reading .*accuracy"):
        open_run(whole.folder)


def test_a_comparison_says_what_is_not_compared_and_a_gate_refuses(whole, capsys):
    for stage in ("readings", "observed"):
        cut(whole.folder / stage / "accuracy.zarr.zip")
    both = [str(whole.folder), str(whole.folder)]
    assert cutaway(["compare", *both, "--json"]) == 0
    assert any("Accuracy: reading " in note for note in json.loads(capsys.readouterr().out)["notes"])
    assert cutaway(["compare", *both, "--fail-on", "regression"]) == 2
    assert "expected every reading of every run where --fail-on decides" in capsys.readouterr().err
    assert whole.readings[0].status is not Status.FAILED
