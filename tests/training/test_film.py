"""What a tracked run tells, as words, JSON, and a page looked at in a real browser."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from cutaway.cli import run as cutaway
from cutaway.data import load_data
from cutaway.instruments import Accuracy, LocalComplexity, RobustAccuracy
from cutaway.training import LogSpaced, Tracker, open_training
from cutaway.training.store import Series, TrainingRun
from cutaway.training.story import tell, when
from cutaway.wording import said


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """A network trained on digits for 300 steps, watched at 16 of them."""
    folder = tmp_path_factory.mktemp("film") / "run"
    train, test = load_data("digits", split="train"), load_data("digits", split="test")
    assert train.labels is not None
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    instruments = [
        LocalComplexity(num_points=48, num_directions=6),
        RobustAccuracy(radius=0.1, steps=4, num_points=60),
        Accuracy(),
    ]
    data = {"train": train.take(200, 0), "test": test}
    with Tracker(
        instruments, LogSpaced(300, 16), folder, data=data, checkpoints=LogSpaced(300, 3), intervals=False
    ) as tracker:
        tracker.step(model, 0)
        for step in range(1, 301):
            rows = torch.randint(0, len(train.inputs), (64,))
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(train.inputs[rows]), train.labels[rows])
            loss.backward()
            optimiser.step()
            tracker.step(model, step, loss=loss, examples=rows)
    return folder


def test_track_prints_one_json_object_with_what_is_promised(tracked, capsys):
    assert cutaway(["track", str(tracked), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["steps"] == 300
    assert told["finished"]
    series = told["series"]["test/accuracy/accuracy"]
    assert series[0][0] == 0
    assert series[-1][1] > 0.8
    assert {p["name"] for p in told["phases"]} == {"descent", "ascent", "second descent"}
    assert "clean accuracy settled" in {e["name"] for e in told["events"]}


def test_track_in_words_and_as_csv_and_page(tracked, tmp_path, capsys):
    assert cutaway(["track", str(tracked), "--csv", str(tmp_path / "a.csv"), "--page", str(tmp_path / "p.html")]) == 0
    assert "step 300, finished" in capsys.readouterr().out
    lines = (tmp_path / "a.csv").read_text().splitlines()
    run = open_training(tracked)
    assert len(lines) == 1 + sum(len(s.steps) for s in run.series.values())
    assert 'http-equiv="refresh"' not in (tmp_path / "p.html").read_text()


def test_a_page_of_a_run_under_way_asks_to_be_loaded_again(tracked, tmp_path):
    from cutaway.report.training_page import write_training_page

    run = open_training(tracked)
    unfinished = TrainingRun(**{**_fields(run), "events": ()})
    page = write_training_page(unfinished, tmp_path / "live.html", refresh=3)
    assert '<meta http-equiv="refresh" content="3">' in page.read_text()
    assert "under way, or cut off" in page.read_text()


def test_track_refuses_a_folder_without_a_run(tmp_path, capsys):
    assert cutaway(["track", str(tmp_path)]) == 2
    assert "expected a folder that a tracker filled" in capsys.readouterr().err


@pytest.mark.browser
def test_the_film_is_drawn_without_a_message_or_a_request(tracked, browse):
    assert cutaway(["report", str(tracked)]) == 0
    page = tracked / "report.html"
    html = page.read_text()
    assert not re.findall(r'(?:src|href)="https?://', html)
    charts = html.count('class="picture" id="film-')
    assert charts > 3
    seen = browse(page)
    assert f'data-drawn="{charts}"' in seen.dom
    assert seen.dom.count('class="marks"') == charts
    assert not seen.messages
    assert not seen.fetched


def test_the_page_shows_first_what_instruments_show_first_each_chart_under_a_title_of_its_own(tracked):
    from cutaway.report.film import panels

    run = open_training(tracked)
    found = panels(run, tell(run))
    first = [panel.title for panel in found if panel.first]
    assert first == [
        "Right answers, clean and under attack", "Training loss, batch by batch",
        "Neurons that bend near a sample, mean", "Calibration error",
    ]  # fmt: skip
    assert len({panel.title for panel in found}) == len(found), "two charts of one title"
    assert [panel.first for panel in found] == sorted((panel.first for panel in found), reverse=True)
    last = {s.name: said(s.value[-1]) for s in run.series.values()}
    clean = f"clean {last['train/accuracy/accuracy']} on train, {last['test/accuracy/accuracy']} on test"
    assert clean in found[0].ends


def test_a_tile_holds_the_last_value_on_held_out_data_and_its_course(tracked):
    from cutaway.report.film_tiles import ended

    run = open_training(tracked)
    tiles = {tile.title: tile for tile in ended(run)}
    accuracy = run.series["test/accuracy/accuracy"]
    assert tiles["Accuracy on test"].value == f"{100 * accuracy.value[-1]:.3g}%"
    assert tiles["Accuracy on test"].interval == f"{100 * accuracy.low[-1]:.3g}% to {100 * accuracy.high[-1]:.3g}%"
    assert tiles["Accuracy on test"].course.count("L") == len(accuracy.steps) - 1
    assert not [title for title in tiles if "train" in title]


def curve(name: str, steps, value) -> Series:
    data, instrument, figure = name.split("/")
    value = np.asarray(value, dtype=float)
    return Series(
        name=name, data=data, instrument=instrument, figure=figure, unit="1", steps=np.asarray(steps), value=value,
        low=value - 0.005, high=value + 0.005,
    )  # fmt: skip


def test_clean_accuracy_of_the_attack_stands_in_where_accuracy_is_not_tracked(tracked):
    from cutaway.report.film import film

    def lines(series):
        run = TrainingRun(**{**_fields(open_training(tracked)), "series": {s.name: s for s in series}})
        layer = film(run, tell(run)).to_dict()["vconcat"][0]["layer"][1]
        return layer["encoding"]["strokeDash"]["scale"]["domain"]

    steps, flat = [0, 1, 10], [0.1, 0.5, 0.9]
    names = ("robust-accuracy/clean_accuracy", "robust-accuracy/robust_accuracy")
    attacked = [curve(f"{data}/{name}", steps, flat) for data in ("train", "test") for name in names]
    assert lines(attacked) == ["clean", "under attack"]
    twice = [curve(f"train/{label}/{f}", steps, flat) for label in "ab" for f in ("clean_accuracy", "robust_accuracy")]
    assert lines(twice) == ["clean", "under attack (a)", "under attack (b)"]
    plain = curve("test/accuracy/accuracy", steps, flat)
    assert lines([*attacked, plain]) == ["clean (robust-accuracy)", "under attack", "clean (accuracy)"]


def _fields(run: TrainingRun) -> dict:
    return {f: getattr(run, f) for f in run.__dataclass_fields__}


@pytest.mark.parametrize(
    ("robust", "text"),
    [
        ([0.0, 0.1, 0.1, 0.1, 0.1, 0.6, 0.7], "robustness was delayed"),
        ([0.0, 0.1, 0.5, 0.7, 0.7, 0.7, 0.7], "robustness was not delayed"),
        ([0.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], "no delayed robustness"),
        ([0.0, 0.1, 0.6, 0.3, 0.2, 0.2, 0.5], "falls to 0.200 at step 40 and comes back to 0.500 by step 10,000"),
    ],
)
def test_delayed_robustness_is_told_from_the_curves(tracked, robust, text):
    steps = [0, 1, 10, 20, 40, 1000, 10000]
    series = [
        curve("train/accuracy/accuracy", steps, [0.1, 0.5, 1, 1, 1, 1, 1]),
        curve("test/accuracy/accuracy", steps, [0.1, 0.5, 0.9, 0.9, 0.9, 0.9, 0.9]),
        curve("test/robust-accuracy/robust_accuracy", steps, robust),
    ]
    run = TrainingRun(**{**_fields(open_training(tracked)), "series": {s.name: s for s in series}})
    events = {e.name: e for e in tell(run).events}
    assert text in events["robustness"].text
    assert events["memorised"].onset.step == 10
    assert "not delayed" in events["generalisation"].text


NUMBERS = st.one_of(
    st.floats(-1e3, 1e3), st.floats(0, 1), st.sampled_from([0.0, float("nan"), float("inf"), -float("inf")])
)
FALSE_WORDS = re.compile(r"\b(inf|nan|none)\b|\b0\.0 of them|[a-z]_[a-z]|– to –|-0\.000|∞", re.IGNORECASE)


def labels_of(chart) -> list[str]:
    """The texts of a chart: titles, axes, legends, and what its data name in words."""
    found: list[str] = []

    def walk(node, key=""):
        if isinstance(node, dict):
            for name, inner in node.items():
                walk(inner, key if name in ("text", "value", "expr") else name)
        elif isinstance(node, list):
            for inner in node:
                walk(inner, key)
        elif isinstance(node, str) and key in ("title", "text", "subtitle", "description", "domain"):
            found.append(node)

    walk(chart.to_dict())
    return found


def test_no_label_of_the_film_is_a_variables_name_or_no_number(tracked):
    from cutaway.report.film import film, panels

    run = open_training(tracked)
    story = tell(run)
    texts = [
        *labels_of(film(run, story)),
        *(p.title for p in panels(run, story)),
        *(p.ends for p in panels(run, story)),
    ]
    assert len(texts) > 20 and "steps" in " ".join(texts).lower(), texts
    assert not (wrong := [text for text in texts if FALSE_WORDS.search(text)]), wrong


def told_of(run, folder):
    """What `track` prints and what the page says of a run, outside its pictures, settings and provenance."""
    from cutaway.cli.track import _words
    from cutaway.report.training_page import write_training_page

    html = write_training_page(run, folder / "page.html").read_text()
    main = html[html.index("<main>") : html.index("<h2>Checkpoints")]
    return _words(run, tell(run)).split("\n", 1)[1] + re.sub(r"<[^>]*>", " ", main)


@given(data=st.data())
@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_no_sentence_holds_what_is_not_a_number_or_a_variables_name(tracked, tmp_path, data):
    run = open_training(tracked)
    for name, one in list(run.series.items()):
        if one.figure in ("accuracy", "clean_accuracy", "robust_accuracy"):
            n = len(one.steps)
            columns = {
                k: np.array(data.draw(st.lists(NUMBERS, min_size=n, max_size=n))) for k in ("value", "low", "high")
            }
            run.series[name] = replace(one, **columns)
    event = {"what": "nan", "step": 3, "value": float("nan")}
    text = told_of(TrainingRun(**{**_fields(run), "events": (*run.events, event)}), tmp_path)
    assert "loss was not a finite number" in text
    assert not (found := FALSE_WORDS.findall(text)), found


@given(steps=st.integers(4, 12), data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_story_is_told_in_numbers(steps, data):
    """Any two readings: clean and robust accuracy on held-out data, values missing or not."""
    from types import SimpleNamespace

    def series(figure):
        low, value, high = (np.array(data.draw(st.lists(NUMBERS, min_size=steps, max_size=steps))) for _ in range(3))
        grid = np.concatenate([[0], 2 ** np.arange(steps - 1)])
        return Series(name=f"test/a/{figure}", data="test", instrument="a", figure=figure, unit="1", steps=grid,
                      value=value, low=low, high=high)  # fmt: skip

    found = {figure: series(figure) for figure in ("accuracy", "robust_accuracy")}
    story = tell(SimpleNamespace(record={"instruments": ()}, series=found, readings=()))  # pyright: ignore[reportArgumentType]
    for event in story.events:
        told = event.text + when(event.onset)
        assert not FALSE_WORDS.findall(told), told


def test_a_comparison_calls_figures_by_their_words(capsys, tmp_path, monkeypatch):
    from cutaway import comparing, running

    row = {"instrument": "robust-accuracy", "name": "robust_accuracy", "long_name": "right under attack",
           "a": float("nan"), "b": 0.5, "p_value": None, "paired": False, "change": "different", "run": 1}  # fmt: skip
    monkeypatch.setattr(comparing, "against_first", lambda runs: ([row, {**row, "change": "worse"}], []))
    monkeypatch.setattr(running, "open_run", lambda folder: folder)
    assert cutaway(["compare", "a", "b"]) == 0
    printed = capsys.readouterr().out
    assert "Robust accuracy" in printed and "worse in right under attack (undefined to 0.5)" in printed
    assert not FALSE_WORDS.findall(printed)


def test_readings_that_are_missing_or_damaged_are_told_and_the_rest_is_read(tracked, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(tracked, folder)
    taken = [t for t in open_training(folder).readings if t.instrument == "local-complexity" and t.data == "test"]
    whole = taken[0].file.read_bytes()
    taken[0].file.unlink()
    taken[1].file.write_bytes(whole[:-30])
    taken[2].file.write_bytes(whole.replace(b"figures", b"Figures"))  # its end is whole
    assert cutaway(["track", str(folder), "--json"]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert f"local-complexity on test at step {taken[0].step:,}: its file is missing" in notes
    assert f"local-complexity on test at step {taken[1].step:,}: its file is damaged" in notes
    assert sum("are told without 3 of its readings: reading " in note for note in notes) == 1
    assert cutaway(["report", str(folder)]) == 0
    assert "its file is missing" in (folder / "report.html").read_text()
