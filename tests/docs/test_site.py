"""The parts of the documentation's build that need no Sphinx: pages made from the library, links, commands, cache."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "site"))

import api_pages  # noqa: E402
import build  # noqa: E402
import error_pages  # noqa: E402
import instrument_pages  # noqa: E402
import kept  # noqa: E402
import links  # noqa: E402
import walkthrough  # noqa: E402
from docutils.utils.math import latex2mathml  # noqa: E402

from cutaway import registry, reproductions  # noqa: E402
from cutaway.settings import described  # noqa: E402


@pytest.mark.parametrize("name", list(registry.homes()))
def test_the_page_of_an_instrument_says_all_that_its_class_says(name):
    kind = registry.instrument(name)
    page = instrument_pages.page(kind)
    assert kind.formula, "its page would have no formula"
    latex2mathml.tex2mathml(kind.formula, as_block=True)
    for text in (kind.question, kind.formula, kind.source, kind.expense, kind.limits):
        assert text in page
    for setting in described(kind):
        row = next(line for line in page.splitlines() if line.startswith(f"| `{setting['name']}`"))
        assert repr(setting["default"]) in row and setting["range"] in row


def test_every_instrument_answers_a_question_of_the_index():
    index = (ROOT / "docs" / "site" / "pages" / "index.md").read_text(encoding="utf-8")
    assert not [name for name in registry.homes() if f"(instruments/{name}.md)" not in index]


def test_every_message_of_the_library_has_its_place():
    places = error_pages.raised()
    assert len(places) > 300
    page = error_pages.page(error_pages.errors.MissingExtra, places)
    assert "pip install" not in page or "cutaway" in page
    said = [p for p in places if p.file == "registry.py"]
    assert said and "no such instrument" not in said[0].offender
    for kind in error_pages.families():
        assert f"Exit code of a command: {kind.exit_code}." in error_pages.page(kind, places)


def test_the_rows_of_the_papers_are_those_of_the_reproductions():
    kept_rows = json.loads((ROOT / "reproductions" / "short_rows.json").read_text(encoding="utf-8"))["reproductions"]
    assert set(kept_rows) <= set(reproductions.reproduction_names()) and len(kept_rows) >= 44
    for name, result in kept_rows.items():
        assert result["title"] == reproductions.get(name).TITLE and result["short"]
        assert all((row["paper"] is None) == (row["reference"] == "own") for row in result["rows"])


def test_a_docstring_keeps_its_signs_and_its_examples():
    found = api_pages.markdown("One line with a < b and x[0] * y.\n\n>>> 1 + 1\n2\n\nRaises\n------\nError : never\n")
    assert "a \\< b and x\\[0\\] \\* y" in found
    assert "```pycon\n>>> 1 + 1\n2\n```" in found and "**Raises**" in found and "- `Error`: never" in found


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here">b</a> <a href="#gone">x</a> <img src="https://x.org/p.png">'
    )
    (tmp_path / "b.html").write_text('<h1 id="here">b</h1> <a href="c.html">c</a>')
    assert links.faults(tmp_path) == [
        "a.html: fetches https://x.org/p.png",
        "a.html: #gone has no such place",
        "b.html: c.html leads nowhere",
    ]


def test_links_of_the_repository_become_links_of_the_site():
    assert (
        build.on_site("[g](docs/geometry.md) [n](../examples/notebooks/1.ipynb)")
        == "[g](geometry.md) [n](notebooks/1.ipynb)"
    )
    assert build.on_site("[examples](examples) [x](https://y.org)") == "`examples` [x](https://y.org)"


def test_what_failed_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "BUILD", tmp_path)

    def fails(path):
        path.write_text("half")
        raise ValueError

    with pytest.raises(ValueError):
        kept.kept("one", "text", fails)
    path = kept.kept("one", "text", lambda p: p.write_text("whole"))
    assert path.read_text() == "whole" and kept.kept("one", "text", fails) == path
    assert kept.kept("one", "other text", lambda p: p.write_text("new")).read_text() == "new" and not path.exists()


FIRST = (ROOT / "docs" / "first_network.md").read_text(encoding="utf-8")


def test_the_first_network_runs_on_less_in_one_process(tmp_path, monkeypatch, capsys):
    """Every command of the page without its pipe, with two nulls and fewer epochs; the slow test runs it as it stands."""
    from cutaway.cli import run

    monkeypatch.chdir(tmp_path)
    (nets,) = walkthrough.files(FIRST).values()
    Path("nets.py").write_text(nets.replace("epochs: int = 30", "epochs: int = 10"))
    exec(compile(Path("nets.py").read_text(), "nets.py", "exec"), {"__name__": "__main__"})
    asked = [shlex.split(line.split("|")[0].split(">")[0]) for line in walkthrough.commands(FIRST)]
    said = {}
    for words in (w for w in asked if w[0] == "cutaway"):
        less = {"scan": ["--nulls", "2"], "measure": ["--nulls", "2"], "certify": ["--num", "30"]}.get(words[1], [])
        for name, value in zip(less[::2], less[1::2]):
            if name in words:
                words[words.index(name) + 1] = value
            else:
                words += [name, value]
        assert run(words[1:]) == 0
        said[words[1]] = capsys.readouterr().out
    assert list(said) == ["scan", "measure", "certify", "slice"]
    assert re.search(r"Right on [89]\d\.\d% of the samples", said["scan"]) and Path("runs/first/report.html").is_file()
    right, attacked, proved = (
        float(v) for v in re.findall(r"(?:right|attack|certified) +(\d+\.\d)%", said["certify"])[:3]
    )
    assert 0 < proved <= attacked <= right
    assert all(Path(name).is_file() for name in ("distance.svg", "slice.png", "slice.html"))


@pytest.mark.slow
def test_the_first_network_runs_as_the_page_says():
    asked, printed = walkthrough.commands(FIRST), walkthrough.outputs(FIRST, "first_network")
    assert len(asked) == len(printed) >= 7 and list(walkthrough.files(FIRST)) == ["nets.py"]
    said = dict(zip(asked, printed))
    scan = next(out for command, out in said.items() if command.startswith("cutaway scan"))
    assert re.search(r"Right on 9\d\.\d% of the samples", scan)
    certified = next(out for command, out in said.items() if command.startswith("cutaway certify"))
    right, attacked, proved = (float(v) for v in re.findall(r"(?:right|attack|certified) +(\d+\.\d)%", certified)[:3])
    assert proved <= attacked <= right and proved > 50
    page = walkthrough.told(FIRST, "first_network")
    assert "```{code-block} python\n:caption: nets.py" in page and printed[-1].splitlines()[0] in page


def test_a_page_is_told_with_what_its_commands_print(tmp_path, monkeypatch):
    monkeypatch.setattr("walkthrough.kept", lambda name, text, make, suffix: make(tmp_path / "out") or tmp_path / "out")
    text = "```python a.py\nprint(1 + 1)\n```\n\n```console run\n$ python a.py | cat\n$ echo done\n```\n"
    page = walkthrough.told(text, "a")
    assert page.endswith("```console\n$ python a.py | cat\n2\n$ echo done\ndone\n```\n")
    assert page.startswith("```{code-block} python\n:caption: a.py\n\nprint(1 + 1)\n```")
    with pytest.raises(RuntimeError, match="ended with 3"):
        walkthrough.outputs("```console run\n$ exit 3\n```\n", "b")


def test_tiles_in_a_notebook_lead_nowhere():
    from cutaway import scan
    from cutaway.demo import train_digits
    from cutaway.instruments import Accuracy
    from cutaway.scanning import ScanSettings

    model, data = train_digits(epochs=1)
    run = scan(model, data, instruments=[Accuracy()], settings=ScanSettings(nulls=0))
    shown = run._repr_html_()
    assert 'class="tile ' in shown and "href=" not in shown
    assert 'href="#accuracy"' in run.report().read_text(encoding="utf-8")
