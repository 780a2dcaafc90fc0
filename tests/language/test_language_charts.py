"""Pictures of language-model geometry and guardrails hold the numbers they were given; the example runs."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from cutaway.guard.charts import certificate_chart
from cutaway.language.charts import dimension_curve, layers_curve, prompt_map


def _values(chart) -> list[dict]:
    record = chart.to_dict()
    sets = [record.get("data", {}).get("values", [])]
    sets += [layer.get("data", {}).get("values", []) for layer in record.get("layer", [])]
    return [row for rows in sets for row in rows] + [r for rows in record.get("datasets", {}).values() for r in rows]


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_prompt_maps_keep_sources_and_separate_what_is_apart(method):
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(0, 1, (20, 6)), rng.normal(8, 1, (20, 6))])
    rows = _values(prompt_map(features, ["a"] * 20 + ["b"] * 20, method=method))
    assert len(rows) == 40 and {r["source"] for r in rows} == {"a", "b"}
    places = {s: np.array([[r["x"], r["y"]] for r in rows if r["source"] == s]) for s in "ab"}
    gap = np.linalg.norm(places["a"].mean(0) - places["b"].mean(0))
    assert gap > 2 * max(places["a"].std(), places["b"].std()) or method == "tsne"


def test_curves_hold_their_points():
    rows = _values(dimension_curve([0, 8], [3.0, 5.0], [3.0, 4.0]))
    assert {(r["tokens"], r["context"], r["dimension"]) for r in rows} == {
        (0, "related", 3.0), (8, "related", 5.0), (0, "unrelated", 3.0), (8, "unrelated", 4.0),
    }  # fmt: skip
    assert [r["milliseconds"] for r in _values(layers_curve([1, 2], [0.001, 0.002], [0.7, 0.8]))][:2] == [1.0, 2.0]


def test_certificates_show_slack_against_the_hull_and_containment():
    from cutaway.guard.certificate import certify
    from cutaway.guard.detector import fit_detector

    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(-1, 1, (60, 4)), rng.normal(1, 1, (60, 4))])
    detector = fit_detector(points, np.repeat([0, 1], 60))
    z = detector.standardised(points[60:])
    made = certify(detector, 0.0, z[:40], z[40:])
    rows = {r["region"]: r for r in _values(certificate_chart(made)) if "region" in r}
    assert set(rows) == {r.name for r in made.regions}
    box = made.region("box")
    assert rows["box"]["inside"] == box.containment
    assert rows["box"]["hull"] - rows["box"]["worst"] == pytest.approx(box.slack)
    assert rows["box"]["slack"] == box.slack and rows["hull"]["slack"] is None
    title = certificate_chart(made).to_dict()["title"]["text"]
    assert made.unflagged > 0 and title.startswith(f"{made.unflagged} of the 40 rows")
    assert "title" not in certificate_chart(certify(detector, -99.0, z[:40], z[40:])).to_dict()


def test_the_example_of_intrinsic_dimension(real_data, tmp_path):
    path = Path(__file__).parents[2] / "examples" / "guard_intrinsic_dimension.py"
    spec = importlib.util.spec_from_file_location("guard_intrinsic_dimension", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    curves = module.main(["--out", str(tmp_path), "--num", "30", "--repeats", "2"])
    assert curves["related"][0] == curves["unrelated"][0] and curves["related"][-1] > curves["related"][0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dimension.svg", "prompts_pca.svg", "prompts_tsne.svg"]
