"""The three reproductions and the table of detectors run in their short form, and nothing in them fails."""

import importlib.util
from pathlib import Path

import pytest

from cutaway import reproductions


def _rows(name):
    rows = reproductions.get(name).reproduce(short=True, progress=lambda _: None)
    failed = [r.quantity for r in rows if r.verdict == "fail"]
    assert not failed and sum(r.verdict == "pass" for r in rows) >= 2
    return rows


def test_guardrail_certificates(monkeypatch):
    monkeypatch.delenv("CUTAWAY_DATA", raising=False)
    rows = _rows("guardrail-certificates")
    assert any("worst logit" in r.quantity for r in rows)


def test_a_share_of_nothing_is_shown_as_not_available():
    """Warnings are errors here: a mean over no value would fail."""
    from cutaway.guard.nlp import SentenceOutcome
    from cutaway.reproductions import nlp_verification as study

    shares = {"verifiability": 0.0, "falsified": 1.0, "generalisability": 0.0, "reach": 0.1, "embedding_error": 0.0}
    nothing = SentenceOutcome(
        boxes=5, falsifiability=float("nan"), overlap=0, precision=float("nan"), recall=0.0, f1=float("nan"), **shares
    )
    some = SentenceOutcome(boxes=5, falsifiability=0.25, overlap=0, precision=0.5, recall=0.5, f1=0.5, **shares)
    rows = {r.quantity: r for r in study._table("medical", "cluster", [nothing, nothing])}
    assert rows["medical, cluster: falsifiability"].ours == "not available: no region verified"
    assert rows["medical, cluster: falsifiability"].low is None
    assert rows["medical, cluster: recall"].ours == 0.0
    rows = {r.quantity: r for r in study._table("medical", "cluster", [nothing, some])}
    assert rows["medical, cluster: falsifiability"].ours == 0.25


def test_llm_geometry_without_data_checks_the_definitions(monkeypatch):
    monkeypatch.delenv("CUTAWAY_DATA", raising=False)
    assert "set CUTAWAY_DATA" in str(_rows("llm-geometry")[-1].ours)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llm-geometry", "nlp-verification"])
def test_reproductions_on_real_data(name, real_data):
    assert len(_rows(name)) > 8


@pytest.mark.slow
def test_the_table_of_detectors(real_data, tmp_path):
    path = Path(__file__).parents[2] / "benchmarks" / "bench_guard_detectors.py"
    spec = importlib.util.spec_from_file_location("bench_guard_detectors", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.main(["--short", "--out", str(tmp_path)])
    assert set(found["settings"]) == set(module.SETTINGS) and len(found["layers"]) == 5
    assert (tmp_path / "layers.svg").is_file()
