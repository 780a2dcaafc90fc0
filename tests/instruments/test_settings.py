"""Settings say their own range and meaning, the base class holds them to it, and the command line tells both."""

import dataclasses
import json
import math
import shlex
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest
import torch

from cutaway import registry
from cutaway.cli import run
from cutaway.errors import InputError
from cutaway.instrument import Instrument
from cutaway.settings import above, at_least, between, check_settings, described, means, one_of, range_of
from cutaway.testing.contract import small_classifier, small_data

OURS = [(name, setting) for name in registry.homes() for setting in dataclasses.fields(registry.instrument(name))]
IDS = [f"{name}-{setting.name}" for name, setting in OURS]


@dataclass(frozen=True, kw_only=True)
class Odd(Instrument):
    """Nothing."""

    plain: float = 1.0
    size: float = field(default=1.0, metadata=above(0, "a size"))
    share: float = field(default=0.5, metadata=between(0, 1, "a share"))
    count: int | None = field(default=3, metadata=at_least(2, "a count"))
    way: str = field(default="left", metadata=one_of(("left", "right"), "a way"))
    fast: bool = field(default=True, metadata=means("quickly"))

    name: ClassVar[str] = "odd"
    question: ClassVar[str] = "?"
    source: ClassVar[str] = "this test"

    def _measure(self, network, data, context):
        raise AssertionError("settings are checked first")


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("size", 0, "found 0; expected a finite number, above 0. Its default is 1.0."),
        ("share", 1.0, "found 1.0; expected a finite number, at least 0, below 1. Its default is 0.5."),
        ("share", -0.1, "expected a finite number, at least 0, below 1"),
        ("count", 1, "found 1; expected a whole number, at least 2. Its default is 3."),
        ("count", 2.5, "found 2.5; expected a whole number, at least 2"),
        ("count", True, "found True; expected a whole number"),
        ("way", "rigth", "found 'rigth'; expected one of left, right. Did you mean 'right'?"),
        ("way", 3, "found 3; expected one of left, right. Its default is 'left'."),
        ("fast", 1, "found 1; expected True or False"),
        ("plain", math.inf, "found inf; expected a finite number"),
        ("plain", "x", "found 'x'; expected a finite number"),
    ],
)
def test_a_value_outside_names_instrument_setting_found_expected_and_next_step(setting, value, message):
    with pytest.raises(InputError) as caught:
        Odd(**{setting: value}).measure(small_classifier(), small_data())
    assert str(caught.value).startswith(f"setting {setting!r} of instrument 'odd'; ")
    assert message in str(caught.value)


def test_values_inside_are_accepted():
    for values in ({"size": 1e-9}, {"share": 0}, {"count": None}, {"count": 2}, {"way": "right"}, {"plain": -5}):
        check_settings(Odd(**values))


@pytest.mark.parametrize(("name", "setting"), OURS, ids=IDS)
def test_every_setting_of_ours_has_a_meaning_and_a_range_that_is_held(name, setting):
    kind, allowed = registry.instrument(name), range_of(setting)
    assert allowed.meaning
    check_settings(kind())
    if isinstance(setting.default, bool) or setting.default == "":  # a switch; a path that may be left out
        return
    assert str(allowed), "a number or a word without a range"
    wrong = "nonsense" if allowed.choices else (allowed.low if allowed.open else allowed.low - 1)
    wrong = (*setting.default, wrong) if isinstance(setting.default, tuple) else wrong
    with pytest.raises(InputError, match=f"setting '{setting.name}' of instrument '{name}'"):
        check_settings(dataclasses.replace(kind(), **{setting.name: wrong}))


def test_one_instrument_is_told_whole(capsys):
    assert run(["instruments", "ray-crossings", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["in_scan"] is False and "float64 forward pass" in told["left_out"]
    assert told["settings"][0] == {
        "name": "num_segments",
        "type": "int",
        "default": 48,
        "range": "at least 1",
        "meaning": "segments between random pairs of samples",
    }
    assert {"name", "question", "source", "about", "needs", "cost", "null", "limits", "example"} <= set(told)
    assert run(["instruments", "ray-crossings"]) == 0
    words = capsys.readouterr().out
    for part in (told["question"], told["about"].splitlines()[0], told["example"], "not in a scan: ", "48  (int; at"):
        assert part in words


def test_the_list_says_why_a_scan_leaves_one_out(capsys):
    assert run(["instruments", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["instruments"]
    assert {row["name"] for row in rows if not row["in_scan"]} == {
        "affine-slice",
        "answer-isotropy",
        "answer-sampling",
        "boundary-migration",
        "concept-heads",
        "contamination",
        "curvature",
        "distillation",
        "kernel-features",
        "margins",
        "mlp-sparsity",
        "own-labels",
        "pruning",
        "ray-crossings",
        "sample-region",
        "uncertainty-under-attack",
        "unit-boundaries",
        "variation",
    }
    assert all(bool(row["left_out"]) != row["in_scan"] for row in rows)


def test_a_near_miss_is_asked_about(capsys):
    assert run(["instruments", "acuracy"]) == 2
    assert "Did you mean 'accuracy'?" in capsys.readouterr().err


def test_types_are_told_as_people_write_them():
    assert [row["type"] for row in described(Odd)] == ["float", "float", "float", "int or None", "str", "bool"]
    assert described(Odd)[0]["range"] == "any finite number"


@pytest.mark.parametrize("name", [n for n in registry.homes() if "tokens" not in registry.instrument(n).needs])
def test_the_example_of_an_instrument_runs(name, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("cutaway.demo.train_digits", lambda seed=0: (small_classifier(), small_data(120)))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text("from cutaway.testing.contract import small_classifier as make\n")
    data = small_data(120)
    columns = {"labels2": data.labels, "groups": torch.arange(120) % 2}
    np.savez("data.npz", inputs=data.inputs, labels=data.labels, **columns)
    assert run(["instruments", name, "--json"]) == 0
    program, *words = shlex.split(json.loads(capsys.readouterr().out)["example"])
    assert program == "cutaway"
    assert run([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["readings"] or told["reason"], "neither an answer nor a reason"


def test_a_budget_is_a_number_of_bytes_or_a_size_in_words():
    network, accuracy = small_classifier(), registry.instrument("accuracy")()
    read = [accuracy.measure(network, small_data(), budget=b) for b in (20_000_000, "20MB", np.int64(20_000_000))]
    assert read[0].figures == read[1].figures == read[2].figures
    with pytest.raises(InputError, match="a size such as 8GB"):
        accuracy.measure(network, small_data(), budget="much")
