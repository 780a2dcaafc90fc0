"""What the page of a training shows of kernels and curvature beside the lines of their figures."""

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.instruments import Curvature, TangentKernel
from cutaway.report.film import panels
from cutaway.report.training_page import write_training_page
from cutaway.testing.contract import small_classifier, small_data
from cutaway.training import EveryN, Tracker, open_training
from cutaway.training.story import tell


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Four steps of gradient descent, the last two with half the step size."""
    folder, model, data = tmp_path_factory.mktemp("film") / "run", small_classifier(), small_data(24)
    instruments = [TangentKernel(num_points=12), Curvature(num_points=12, num_probes=2, num_top=1, num_density=1)]
    with Tracker(instruments, EveryN(1), folder, data={"train": data}, intervals=False) as tracker:
        tracker.step(model, 0, learning_rate=0.5)
        for step in range(1, 5):
            rate = 0.5 if step < 3 else 0.25
            nn.functional.cross_entropy(model(data.inputs), data.labels).backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= rate * parameter.grad
                    parameter.grad = None
            tracker.step(model, step, learning_rate=rate)
    return folder


def rows_of(spec, layer=None):
    data = (layer or spec)["data"]
    return data["values"] if "values" in data else spec["datasets"][data["name"]]


def test_two_over_the_step_size_stands_beside_the_largest_curvature(watched, tmp_path):
    run = open_training(watched)
    found = {panel.title: panel for panel in panels(run, tell(run))}
    panel = found["Largest curvature of the loss"]
    assert panel.ends.endswith(" 2 / step size: 8.")
    spec = panel.chart.to_dict()
    line = next(one for one in spec["layer"] if one["mark"].get("strokeDash"))
    assert [row["value"] for row in rows_of(spec, line)] == [4.0, 4.0, 4.0, 8.0, 8.0]
    others = [p for title, p in found.items() if title != panel.title]
    assert others and not any("2 / step size" in p.ends for p in others)
    assert "2 / step size" in write_training_page(run, tmp_path / "a.html").read_text()


def test_distances_between_kernels_are_drawn_and_a_lost_reading_is_left_out(watched):
    run = open_training(watched)
    title = "Distance between the kernels of two steps on train"
    panel = next(p for p in panels(run, tell(run)) if p.title == title)
    rows = rows_of(panel.chart.to_dict())
    assert len(rows) == 25 and panel.first
    kernels = [t.load().values["kernel"].values for t in run.readings if t.instrument == "tangent-kernel"]
    cosine = (kernels[0] * kernels[4]).sum() / np.linalg.norm(kernels[0]) / np.linalg.norm(kernels[4])
    far = next(r["distance"] for r in rows if (r["one"], r["other"]) == ("0", "4"))
    assert far == pytest.approx(1 - cosine, abs=1e-5) and far > 1e-4
    lost = next(t for t in run.readings if t.instrument == "tangent-kernel" and t.step == 2)
    kept = lost.file.read_bytes()
    lost.file.write_bytes(b"")
    try:
        panel = next(p for p in panels(run, tell(run)) if p.title == title)
    finally:
        lost.file.write_bytes(kept)
    assert len(rows_of(panel.chart.to_dict())) == 16


def test_one_reading_alone_is_no_course():
    reading = TangentKernel(num_points=12).measure(small_classifier(), small_data(24), intervals=False)
    assert TangentKernel().over_training([0], [reading]) is None
    other = TangentKernel(num_points=10).measure(small_classifier(), small_data(24), intervals=False)
    assert TangentKernel().over_training([0, 1], [other, reading]) is None  # of other rows
