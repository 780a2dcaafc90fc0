"""The first screen of a report: tiles, verdict, ranking and definitions say what the figures say."""

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway import registry
from cutaway.evidence.decision import Decision
from cutaway.network import Network
from cutaway.reading import Figure, Reading
from cutaway.report.glossary import GLOSSARY, marked, used
from cutaway.report.page import write_report
from cutaway.report.tiles import MOST, strip, tiles
from cutaway.report.words import decisions_of, digest, ranked
from cutaway.scanning import ScanSettings, default_instruments, scan
from cutaway.testing.contract import small_classifier, small_data


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    data = small_data(36)
    network = Network(small_classifier(), data.inputs[:2], name="small")
    folder = tmp_path_factory.mktemp("first") / "run"
    return scan(network, data, folder, instruments=default_instruments(data), settings=ScanSettings(nulls=4))


def with_words(run, word):
    """The run with every figure that has a null at this word."""
    return {key: Decision(word) for key in decisions_of(run)}


def test_four_to_six_tiles_with_the_figures_number_and_all_draws_of_the_null(run):
    shown = tiles(run.readings, decisions_of(run))
    assert 4 <= len(shown) <= MOST
    first = shown[0]
    figure = next(r for r in run.readings if r.instrument == "accuracy").figure("accuracy")
    assert first.title == "Accuracy" and first.value == f"{100 * figure.value:.3g}%"
    assert len(figure.null_draws) == figure.null_count == 4
    assert first.strip.count('class="draw"') == 4 and first.strip.count('class="mark"') == 1
    assert f"{min(figure.null_draws):.3g} to {max(figure.null_draws):.3g}" in first.strip


def test_every_tile_names_a_figure_that_its_instrument_gives(run):
    given = {r.instrument: {f.name for f in r.figures} for r in run.readings if r.figures}
    for name, figures in given.items():
        assert {t.figure for t in registry.instrument(name).tiles} <= figures


@pytest.mark.parametrize(
    ("word", "says"),
    [("apart", "told apart from"), ("alike", "not told apart from"), ("open", "too few nulls to tell")],
)
def test_colour_and_words_of_a_tile_are_the_decision(run, word, says):
    for tile in tiles(run.readings, with_words(run, word)):
        assert tile.word == word and says in tile.says and (word != "apart" or "not" not in tile.says)


def test_without_nulls_no_tile_claims_anything(run):
    assert {t.word for t in tiles(run.readings, {})} == {"none"}


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=9), st.floats(-9, 9))
def test_marks_of_a_strip_stay_inside_and_keep_their_order(draws, value):
    text = strip(Figure(name="x", value=value, null_draws=tuple(draws)), "untrained")
    places = [float(x) for x in re.findall(r'class="draw" d="M([\d.]+) ', text)]
    mark = float(re.search(r'cx="([\d.]+)"', text)[1])
    assert all(0 <= x <= 200 for x in [*places, mark])
    assert all((p <= mark) == (d <= value) or abs(p - mark) < 0.11 for p, d in zip(places, draws, strict=True))


def test_the_verdict_is_one_sentence_with_the_tables_numbers(run):
    text = digest(run).verdict
    accuracy = next(r for r in run.readings if r.instrument == "accuracy").figure("accuracy").value
    assert text.startswith(f"Right on {accuracy:.1%}") and text.endswith(".") and ". " not in text
    words = [d.word for d in decisions_of(run).values()]
    assert (f"{words.count('apart')} of {len(words)} figures" in text) == ("apart" in words)


def test_the_most_surprising_instrument_comes_first(run):
    decisions = with_words(run, "alike")
    favourite = next(r for r in run.readings[::-1] if any((r.instrument, f.name) in decisions for f in r.figures))
    figure = next(f for f in favourite.figures if (favourite.instrument, f.name) in decisions)
    decisions[favourite.instrument, figure.name] = Decision("apart")
    assert ranked(run, decisions)[0] is favourite


def test_readings_written_before_draws_were_kept_still_open(run, tmp_path):
    reading = run.readings[0]
    bare = dataclasses.replace(reading, figures=tuple(dataclasses.replace(f, null_draws=()) for f in reading.figures))
    assert Reading.load(bare.save(tmp_path / "r.zarr.zip")).identical(bare)
    assert Reading.load(reading.save(tmp_path / "s.zarr.zip")).identical(reading)


def test_a_term_is_defined_where_it_first_stands_and_nothing_is_let_through():
    seen: set[str] = set()
    text = marked("<b>Calibration error</b> and `calibration error`, AUROC", seen)
    assert "&lt;b&gt;" in text and "`" not in text
    assert text.count("<dfn") == 2 and "Calibration error</dfn>" in text
    assert "<dfn" not in marked("calibration error again", seen)
    assert set(used("two affine regions and a null")) == {"affine region", "null"}
    assert all(means.endswith(".") and "`" not in means for means in GLOSSARY.values())


def test_the_first_screen_shows_no_variable_names_and_no_backticks(run, tmp_path):
    html = write_report(run, tmp_path / "page.html").read_text()
    top = re.sub(r"<[^>]+>", " ", html.split('<section id="top">')[1].split("</section>")[0])
    assert "`" not in top and "attacked" not in top
    assert "not asked for" not in top
    assert not re.findall(r"\b[a-z]+_[a-z_]+\b", top)
    assert not [name for name in registry.names() if "-" in name and f"{name}:" in top]


def test_under_permuted_labels_no_word_of_the_page_speaks_of_untrained_networks(tmp_path):
    data = small_data(36)
    network = Network(small_classifier(), data.inputs[:2], name="small")
    settings = ScanSettings(nulls=3, null="permuted-labels")
    run = scan(network, data, tmp_path / "run", instruments=default_instruments(data)[:1], settings=settings)
    page = write_report(run).read_text()
    shown = re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.S)
    for false in ("untrained", "learned nothing"):
        assert false not in shown and false not in run._repr_html_()
    assert "labels in random order" in shown
