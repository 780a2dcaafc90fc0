"""What a report says: the tables' own numbers, the null's own words, and everything that was not run."""

import dataclasses
import json
import re
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
import xarray as xr

from cutaway.cli.command import execute
from cutaway.cli.scan import run_payload
from cutaway.evidence.decision import decide
from cutaway.instrument import Findings, Instrument
from cutaway.instruments import Accuracy, BoundaryDistance, NeuralCollapse, RobustAccuracy
from cutaway.network import Network
from cutaway.network.origin import note_range
from cutaway.reading import Figure, variable
from cutaway.report.page import write_report
from cutaway.report.words import digest
from cutaway.scan_words import cautions
from cutaway.scanning import ScanSettings, scan
from cutaway.status import Status
from cutaway.testing.contract import small_classifier, small_data
from cutaway.wording import title


def sentences(run):
    told = digest(run)
    return [told.network, *told.warnings, *told.findings, *told.alike, *told.open, *told.unread]


def page_text(run):
    """The page without its scripts and without the methods, which are the instruments' docstrings."""
    html = write_report(run).read_text()
    return re.sub(r"<details>.*?</details>|<script>.*?</script>", "", html, flags=re.DOTALL)


@pytest.mark.parametrize("null", ["permuted-labels", "matched-spectrum", "reinitialised"])
def test_only_the_null_that_was_drawn_is_named(subject, few, tmp_path, null):
    run = scan(*subject, tmp_path / "run", instruments=few, settings=ScanSettings(nulls=12, null=null))
    page, text = page_text(run), "\n".join(sentences(run)[1:])
    assert ("untrained" in page.lower()) == (null == "reinitialised")
    words = {"permuted-labels": "labels in random order", "matched-spectrum": "same singular values",
             "reinitialised": "untrained networks"}[null]  # fmt: skip
    assert words in text and words in page
    assert all("untrained" not in json.dumps(r.plot().to_dict()) or null == "reinitialised" for r in run.readings)


def test_too_few_nulls_are_said_and_never_that_the_null_shows_as_much(subject, few, tmp_path):
    """A trained network beyond all of 8 nulls, where no p can reach q = 0.1."""
    notes = []
    run = scan(*subject, tmp_path / "run", instruments=few, settings=ScanSettings(nulls=8), tell=notes.append)
    told = digest(run)
    assert "8 nulls cannot tell any of the" in notes[0] and run.record["reach"] == notes[0]
    assert told.verdict.count("too few nulls to tell any of") == 1
    assert not any("Too few nulls" in text for text in told.findings), "said once, in the verdict"
    assert any(text.startswith("Accuracy: share of samples classified right") for text in told.open)
    assert not any("classified right" in text for text in told.alike)


def test_sentences_agree_with_the_table(subject, few, tmp_path):
    run = scan(*subject, tmp_path / "run", instruments=few, settings=ScanSettings(nulls=39))
    told, figures = digest(run), {(r.instrument, f.name): f for r in run.readings for f in r.figures}
    decisions = decide(figures)
    for key, decision in decisions.items():
        lines = [t for t in (*told.alike, *told.open) if t.startswith(f"{title(key[0])}: {figures[key].long_name} is ")]
        assert len(lines) == (decision.word != "apart")
    for reading, text in zip(run.readings, told.findings, strict=True):
        apart = any(decisions[reading.instrument, f.name].word == "apart" for f in reading.figures)
        assert ("For untrained networks" in text) == apart


class Affine(torch.nn.Module):
    """One class only, no boundary at all: every ratio and distance is undefined or infinite."""

    def __init__(self):
        super().__init__()
        self.last = torch.nn.Linear(16, 3)
        self.far = torch.nn.Parameter(torch.tensor(1e6))

    def forward(self, x):
        return self.last(torch.relu(x.flatten(1) + self.far) - self.far)


def test_no_sentence_holds_a_number_that_is_none_or_a_name_of_the_code(tmp_path):
    data = small_data(12)
    data = dataclasses.replace(data, labels=torch.zeros(12, dtype=torch.int64), num_classes=3)
    chosen = [NeuralCollapse(), RobustAccuracy(), BoundaryDistance(), Accuracy()]
    run = scan(
        Network(Affine().eval(), data.inputs[:2]),
        data,
        tmp_path / "r",
        instruments=chosen,
        settings=ScanSettings(nulls=2),
    )
    for text in sentences(run)[1:]:
        assert not re.search(r"\b-?(inf|nan|None)\b|0\.0 of (them|which)|inf-norm|[a-z]_[a-z]", text), text


@dataclass(frozen=True, kw_only=True)
class Broken(Instrument):
    """Raises where `where` says."""

    where: str = "measure"
    name: ClassVar[str] = "broken"
    question: ClassVar[str] = "Does it break?"
    source: ClassVar[str] = "a test"

    def _measure(self, network, data, context):
        if self.where == "measure" or (self.where == "null" and context.resamples == 0):
            raise ZeroDivisionError("division by zero\nsecond line")
        values = xr.Dataset({"one": variable(1.0, [], long_name="one")})
        return Findings(values=values, figures=(Figure(name="one", value=1.0),))

    def check(self, network, data):
        if self.where == "check":
            raise KeyError("a bug")
        super().check(network, data)


@pytest.mark.parametrize("where", ["measure", "check"])
def test_a_scan_survives_an_instrument_that_raises(subject, tmp_path, where):
    run = scan(
        *subject, tmp_path / "run", instruments=[Broken(where=where), Accuracy()], settings=ScanSettings(nulls=2)
    )
    broken, accuracy = run.readings
    assert broken.status == Status.FAILED and run.failed
    assert re.match(
        r"(ZeroDivisionError: division by zero|KeyError: 'a bug') \(test_sentences.py, line \d+\)", broken.reason
    )
    assert accuracy.figure("accuracy").p_value is not None
    assert any("Error" in text for text in digest(run).unread) and "Error" in page_text(run)
    told = run_payload(run, run.page)
    assert {"instrument": "broken", "status": "failed", "value": None}.items() <= told["readings"][0].items()
    named = {row["instrument"] for row in told["readings"]} | {row["what"] for row in told["coverage"]["skipped"]}
    assert {"local-complexity", "affine-slice", "broken", "accuracy"} <= named


def test_a_failed_instrument_is_tried_again_on_resume(subject, tmp_path, monkeypatch):
    settings = ScanSettings(nulls=0)
    scan(*subject, tmp_path / "run", instruments=[Broken()], settings=settings)
    monkeypatch.setattr(Broken, "_measure", lambda self, *_: Findings(values=xr.Dataset(), figures=()))
    again = scan(
        *subject, tmp_path / "run", instruments=[Broken()], settings=dataclasses.replace(settings, resume=True)
    )
    assert not again.failed


def test_a_null_that_fails_is_told_and_judges_nothing(subject, tmp_path):
    run = scan(*subject, tmp_path / "run", instruments=[Broken(where="null")], settings=ScanSettings(nulls=3))
    (reading,) = run.readings
    assert reading.figure("one").p_value is None
    assert [(s.what, s.reason[:26]) for s in reading.coverage.skipped] == [
        ("3 of 3 null replicates of broken", "failed: ZeroDivisionError:")
    ]


FACTORY = """
import torch
from torch import nn
def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
def seeded():
    torch.manual_seed(0)
    return make()
def head():
    made = make()
    made[1].weight.data.mul_(2)
    return made
def trained():
    made = make()
    for p in made.parameters():
        p.data.add_(0.01)
    return made
"""


@pytest.mark.parametrize(("name", "said"), [("make", "Random weights: all"), ("seeded", "Random weights: all"),
                                        ("head", "Random weights in part: 1 of 2"), ("trained", None)])  # fmt: skip
def test_random_weights_are_the_first_line(tmp_path, capsys, monkeypatch, name, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(FACTORY)
    code = execute("scan", [f"nets.py:{name}", "--data", "digits", "--num", "40", "--only", "accuracy", "--nulls", "0"])
    first = capsys.readouterr().out.splitlines()[0]
    assert code == 0 and (first.startswith(said) if said else "Random" not in first)


@pytest.mark.parametrize("command", [["measure", "accuracy"], ["certify"]])
def test_every_measurement_of_random_weights_says_so(tmp_path, capsys, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(FACTORY)
    more = ["--radius", "0.01", "--norm", "inf"] if command == ["certify"] else []
    for name, said in (("make", True), ("trained", False)):
        assert execute(command[0], [*command[1:], f"nets.py:{name}", "--data", "digits", "--num", "4", *more]) == 0
        assert capsys.readouterr().out.startswith("Random weights: all") == said


def test_weights_that_are_given_are_no_random_ones(tmp_path, capsys, monkeypatch):
    from safetensors.torch import save_file

    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(FACTORY)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 8), torch.nn.ReLU(), torch.nn.Linear(8, 10))
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    words = ["nets.py:make", "--weights", "w.safetensors", "--data", "digits", "--num", "40", "--only", "accuracy"]
    assert execute("scan", [*words, "--nulls", "0"]) == 0 and "Random" not in capsys.readouterr().out


def test_inputs_outside_their_range_are_warned_of(subject):
    network, data = subject
    assert cautions(network, data) == []
    wide = dataclasses.replace(data, inputs=data.inputs * 255)
    (text,) = cautions(network, wide)
    assert "lie outside 0 to 1, which the data set 'small' declares" in text
    note_range(network.model, (0.0, 0.5))
    assert any("which the network was trained on" in text for text in cautions(network, data))
    assert cautions(Network(small_classifier(), data.inputs[:2]), data) == []
