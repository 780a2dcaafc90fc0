"""Verdicts: planted counterexamples are found, published ones agreed with, nothing wrong is ever claimed."""

from __future__ import annotations

import csv
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.errors import InputError
from cutaway.robustness.bounds.network import bound_network
from cutaway.robustness.query import Clause, Query, robustness_query
from cutaway.robustness.verify.input_split import split_inputs
from cutaway.robustness.verify.problem import Problem
from cutaway.robustness.verify.replay import module_replay
from cutaway.robustness.verify.verdict import VerifySettings, verify
from cutaway.status import Status

DATA = Path(os.environ.get("CUTAWAY_DATA", "/nowhere"))
needs_data = pytest.mark.skipif(not (DATA / "vnncomp2022").exists(), reason="CUTAWAY_DATA with vnncomp2022 is not set")


def half_space_query(center, radius, row, limit):
    """Is there x in the box with row . y <= limit?"""
    clause = Clause(
        lower=center - radius,
        upper=center + radius,
        matrix=row.unsqueeze(0),
        limits=torch.tensor([limit], dtype=torch.float64),
    )
    return Query(clauses=(clause,), num_inputs=len(center), num_outputs=len(row))


def subject(sizes, make_dense, seed=0):
    model = make_dense(sizes, seed=seed)
    net = bound_network(model, torch.zeros(1, sizes[0], dtype=torch.float64))
    return net, module_replay(model, (sizes[0],)), model


def true_minimum(model, center, radius, row, num=200_000):
    points = center + radius * (
        2 * torch.rand(num, len(center), generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1
    )
    return float((model(points) @ row).min().detach())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("inputs", [2, 12])
def test_threshold_just_below_and_above_the_sampled_minimum(seed, inputs, make_dense):
    """Both complete searches: with a threshold far below the minimum it is certified; at a value seen in a sample it is not."""
    net, replay, model = subject((inputs, 16, 16, 2), make_dense, seed)
    center, row = torch.zeros(inputs, dtype=torch.float64), torch.tensor([1.0, -0.5], dtype=torch.float64)
    radius = 0.5 if inputs == 2 else 0.15
    least = true_minimum(model, center, radius, row)
    settings = VerifySettings(timeout=15)
    above = verify(net, half_space_query(center, radius, row, least + 1e-6), replay, settings)
    assert above.status is not Status.CERTIFIED
    if above.status is Status.FALSIFIED:
        assert float((row @ model(above.witness)).detach()) <= least + 1e-6
        assert bool(((above.witness - center).abs() <= radius).all())
    below = verify(net, half_space_query(center, radius, row, least - 2.0), replay, settings)
    assert below.status is Status.CERTIFIED
    assert 0 < below.bound <= 2.0 + 1e-6
    close = verify(net, half_space_query(center, radius, row, least - 0.05), replay, settings)
    assert close.status is not Status.FALSIFIED or float((row @ model(close.witness)).detach()) <= least
    if close.status is Status.CERTIFIED:  # the margin that is told is proved and not above the true one
        assert 0 < close.bound <= 0.05 + 1e-6
    elif close.status is Status.UNKNOWN:
        assert close.bound <= 0


@pytest.mark.parametrize("inputs", [2, 12])
def test_a_search_tells_the_smallest_margin_it_proved(inputs, make_dense, monkeypatch):
    """Each search is entered (bounds alone leave the question open), and its margin stands below every sample."""
    net, replay, model = subject((inputs, 24, 24, 2), make_dense, 3)
    center, row = torch.zeros(inputs, dtype=torch.float64), torch.tensor([1.0, -0.5], dtype=torch.float64)
    radius = 0.7 if inputs == 2 else 0.2
    least = true_minimum(model, center, radius, row)
    for gap in (0.8, 0.6, 0.45, 0.3):
        verdict = verify(net, half_space_query(center, radius, row, least - gap), replay, VerifySettings(timeout=20))
        assert verdict.status is Status.CERTIFIED
        assert 0 < verdict.bound <= gap + 1e-6
        if "split" in verdict.decided_by:
            break
    assert verdict.decided_by == ("input split" if inputs == 2 else "relu split")
    assert verdict.parts > 1


class Planted(nn.Module):
    """Positive everywhere but in a narrow bump around a planted point, where it is negative."""

    def __init__(self, point, width):
        super().__init__()
        self.point, self.width = nn.Parameter(point), width

    def forward(self, x):
        distance = (x - self.point).abs().sum(1, keepdim=True)
        return 1 - 1.5 * torch.relu(1 - distance / self.width)


@pytest.mark.parametrize("width", [0.5, 0.05])
def test_a_planted_counterexample_is_never_certified_away(width):
    point = torch.tensor([0.3, -0.2, 0.6], dtype=torch.float64)
    model = Planted(point, width)
    net = bound_network(model, torch.zeros(1, 3))
    query = half_space_query(torch.zeros(3, dtype=torch.float64), 1.0, torch.ones(1, dtype=torch.float64), 0.0)
    verdict = verify(net, query, module_replay(model, (3,)), VerifySettings(timeout=20))
    assert verdict.status is Status.FALSIFIED
    assert float((verdict.witness - point).abs().sum()) <= width
    shallow = half_space_query(torch.zeros(3, dtype=torch.float64), 1.0, torch.ones(1, dtype=torch.float64), -0.6)
    assert verify(net, shallow, module_replay(model, (3,)), VerifySettings(timeout=20)).status is Status.CERTIFIED


def test_split_by_hand_agrees_with_relu_split(make_dense):
    """Two implementations of ours on the same question."""
    net, replay, model = subject((4, 14, 14, 2), make_dense, 3)
    center, row = torch.zeros(4, dtype=torch.float64), torch.tensor([1.0, 1.0], dtype=torch.float64)
    least = true_minimum(model, center, 0.3, row)
    for gap in (0.1, 0.3):
        query = half_space_query(center, 0.3, row, least - gap)
        found = [verify(net, query, replay, VerifySettings(timeout=90, input_split_up_to=n)).status for n in (8, 0)]
        assert found == [Status.CERTIFIED, Status.CERTIFIED]


def test_network_that_is_not_finite_is_never_certified():
    model = nn.Linear(2, 1).double()
    with torch.no_grad():
        model.weight.fill_(float("nan"))
    from cutaway.network.graph import trace

    net = bound_network(trace(model, torch.zeros(1, 2), check=False))
    query = half_space_query(torch.zeros(2, dtype=torch.float64), 1.0, torch.ones(1, dtype=torch.float64), 0.0)
    verdict = verify(net, query, module_replay(model, (2,)), VerifySettings(timeout=2))
    assert verdict.status is Status.UNKNOWN


def test_deployment_needs_more_margin_than_real_arithmetic():
    model = nn.Linear(1, 1).double()
    with torch.no_grad():
        model.weight.fill_(1.0), model.bias.fill_(1.0 + 1e-9)
    net = bound_network(model, torch.zeros(1, 1))
    query = half_space_query(torch.zeros(1, dtype=torch.float64), 1.0, torch.ones(1, dtype=torch.float64), 0.0)
    replay = module_replay(model, (1,))
    assert verify(net, query, replay, VerifySettings(timeout=5)).status is Status.CERTIFIED
    deployed = VerifySettings(timeout=1, deployment=torch.float32)
    assert verify(net, query, replay, deployed).status is not Status.CERTIFIED


@pytest.mark.parametrize("inputs", [2, 12])
def test_a_deployment_asks_more_of_a_proof_and_no_less_of_a_witness(inputs, make_dense):
    """Limits just below what the network reaches: float32 leaves it open, and no point that misses them is a witness."""
    net, replay, _ = subject((inputs, 8, 2), make_dense)
    center, row = torch.zeros(inputs, dtype=torch.float64), torch.tensor([1.0, -1.0], dtype=torch.float64)
    tiny = torch.full((inputs,), 1e-12, dtype=torch.float64)
    value = float(row @ replay(center))
    query = half_space_query(center, tiny, row, value - 1e-9)
    settings = VerifySettings(timeout=30, deployment=torch.float32)
    problem = Problem.of(net, query, replay)
    raised = replace(problem, limits=problem.limits + 1.0)
    assert raised.confirm(center, 0) is None
    assert float(raised.misses(center.unsqueeze(0), torch.tensor([0]))) > 0
    assert raised.subset(torch.tensor([0])).confirm(center, 0) is None
    verdict = verify(net, query, replay, settings)
    assert verdict.status is Status.UNKNOWN, verdict
    met = verify(net, half_space_query(center, tiny, row, value + 1e-9), replay, settings)
    assert met.status is Status.FALSIFIED and float(row @ replay(met.witness)) <= value + 1e-9


def test_refusals():
    with pytest.raises(InputError, match="time limit; found 0 s; expected more than 0 seconds"):
        VerifySettings(timeout=0)
    net = bound_network(nn.Linear(2, 2), torch.zeros(1, 2))
    query = robustness_query(torch.zeros(3), 0, 0.1, 2)
    with pytest.raises(InputError, match="found 3 inputs; expected the network's 2 inputs"):
        verify(net, query, lambda x: x, VerifySettings())


def test_time_limit_is_kept_and_the_gap_reported(make_dense):
    net, replay, model = subject((3, 40, 40, 40, 2), make_dense, 1)
    center, row = torch.zeros(3, dtype=torch.float64), torch.tensor([1.0, 0.0], dtype=torch.float64)
    least = true_minimum(model, center, 3.0, row)
    begin = time.monotonic()
    verdict = verify(net, half_space_query(center, 3.0, row, least - 1e-4), replay, VerifySettings(timeout=1.0))
    assert time.monotonic() - begin < 8
    if verdict.status is Status.UNKNOWN:
        assert verdict.bound <= 0 and "time limit" in verdict.reason


def test_confirm_moves_into_float32_inside_the_box():
    model = nn.Linear(1, 1)
    net = bound_network(model, torch.zeros(1, 1))
    low = torch.tensor([0.1], dtype=torch.float64)
    query = Query(
        clauses=(
            Clause(lower=low, upper=low + 1e-7, matrix=torch.zeros(1, 1).double(), limits=torch.ones(1).double()),
        ),
        num_inputs=1,
        num_outputs=1,
    )
    problem = Problem.of(net, query, module_replay(model, (1,)))
    point = problem.confirm(low, 0)
    assert point is not None and point.float().double() == point and low <= point <= low + 1e-7


@needs_data
@pytest.mark.parametrize(
    ("network", "prop", "expected"),
    [
        ("1_9", 3, "falsified"),
        ("3_7", 3, "certified"),
        ("2_1", 4, "certified"),
        ("5_1", 2, "falsified"),
        ("5_3", 1, "certified"),
    ],
)
def test_acas_xu(network, prop, expected):
    pytest.importorskip("onnxruntime")
    from cutaway.robustness.verify.onnx_query import verify_vnnlib

    folder = DATA / "vnncomp2022" / "acasxu"
    verdict, _ = verify_vnnlib(
        folder / "onnx" / f"ACASXU_run2a_{network}_batch_2000.onnx",
        folder / "vnnlib" / f"prop_{prop}.vnnlib",
        VerifySettings(timeout=60),
    )
    assert verdict.status.value == expected


@needs_data
def test_published_witnesses_are_met_and_never_certified():
    """The 14 fully connected MNIST instances with a published counterexample: bounds alone must not certify them."""
    pytest.importorskip("onnxruntime")
    from cutaway.robustness.verify.onnx_query import open_onnx
    from cutaway.robustness.vnnlib import read_vnnlib

    folder = DATA / "vnncomp2022"
    rows = [
        r
        for r in csv.DictReader((folder / "verdicts.csv").read_text().splitlines())
        if r["verdict"] == "sat" and "256x2" in r["onnx"]
    ]
    problem = open_onnx(folder / rows[0]["onnx"])
    for row in rows:
        verdict = verify(
            problem.bounded,
            read_vnnlib(folder / row["vnnlib"]),
            problem.replay,
            VerifySettings(timeout=10, complete=False),
        )
        assert verdict.status is not Status.CERTIFIED


@needs_data
def test_safenlp_boxes_agree_with_the_milp_verdicts():
    pytest.importorskip("onnxruntime")
    from cutaway.robustness.verify.onnx_query import open_onnx

    folder = DATA / "safenlp"
    with np.load(folder / "boxes.npz") as archive:
        boxes = archive["box"]
    rows = list(csv.DictReader((folder / "verdicts.csv").read_text().splitlines()))
    problems = {name: open_onnx(folder / f"{name}.onnx") for name in ("medical", "ruarobot")}
    decided = 0
    for row in rows[::7]:
        name = row["dataset"]
        box = torch.from_numpy(boxes[int(row["id"])].astype(np.float64))
        clause = Clause(
            lower=box[:, 0],
            upper=box[:, 1],
            matrix=torch.tensor([[1.0, -1.0]]).double(),
            limits=torch.zeros(1).double(),
        )
        query = Query(clauses=(clause,), num_inputs=30, num_outputs=2)
        verdict = verify(problems[name].bounded, query, problems[name].replay, VerifySettings(timeout=5))
        truth = row["verdict"]
        assert (verdict.status.value, truth) not in {("certified", "sat"), ("falsified", "unsat")}
        decided += verdict.status in (Status.CERTIFIED, Status.FALSIFIED)
    assert decided >= len(rows[::7]) // 2


@needs_data
def test_instance_list_resumes_and_refuses_another_model(tmp_path):
    pytest.importorskip("onnxruntime")
    from cutaway.robustness.verify.instances import run_instances

    source = DATA / "vnncomp2022" / "rl_benchmarks"
    network = next((source / "onnx").glob("*.onnx"))
    properties = sorted((source / "vnnlib").iterdir())[:2]
    for file in (network, *properties):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "list.csv").write_text(
        "".join(f"{network.name},{p.name},10\n" for p in properties) + "gone.onnx,x.vnnlib,\n"
    )
    out = tmp_path / "out.csv"
    counts = run_instances(tmp_path / "list.csv", out, VerifySettings(timeout=10))
    assert counts == {"certified": 2, "failed": 1}
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [r["result"] for r in rows] == ["unsat", "unsat", "error"] and "gone.onnx" in rows[2]["reason"]
    run_instances(tmp_path / "list.csv", out, VerifySettings(timeout=10))
    before = out.read_text()
    assert list(csv.DictReader(before.splitlines()))[:2] == rows[:2]
    (tmp_path / "list.csv").write_text("".join(f"{network.name},{p.name},10\n" for p in properties))
    text = properties[1].read_text()
    (tmp_path / properties[1].name).write_text(text + "(assert (<= Y_0 1000000.0))\n")
    with pytest.raises(InputError, match=r"found property hash \w{12}; expected \w{12}\. The property has changed"):
        run_instances(tmp_path / "list.csv", out, VerifySettings(timeout=10))
    (tmp_path / properties[1].name).write_text(text)
    (tmp_path / network.name).write_bytes(network.read_bytes() + b"\0")
    with pytest.raises(InputError, match=r"found model hash \w{12}; expected \w{12}\. The network has changed"):
        run_instances(tmp_path / "list.csv", out, VerifySettings(timeout=10))
    assert out.read_text() == before


LISTS = {
    "net.onnx,a.vnnlib,0\nnet.onnx\n": "line 1; found a timeout of '0'; expected more than 0 seconds",
    "net.onnx,a.vnnlib,nan\n": "line 1; found a timeout of 'nan'; expected more than 0 seconds",
    "net.onnx,a.vnnlib,soon\n": "line 1; found a timeout of 'soon'; expected more than 0 seconds",
    "net.onnx\n": "line 1; found net.onnx; expected onnx,vnnlib",
    "\n": "found no instances",
}


@pytest.mark.parametrize("text", LISTS)
def test_lists_that_cannot_be_run_are_refused_before_any_work(text, tmp_path, capsys):
    from cutaway.cli import run

    (tmp_path / "list.csv").write_text(text)
    out = tmp_path / "out.csv"
    assert run(["certify", "--instances", str(tmp_path / "list.csv"), "--out", str(out)]) == 2
    assert LISTS[text] in capsys.readouterr().err
    assert not out.exists()


def test_results_need_a_folder_and_their_own_columns(tmp_path, capsys):
    from cutaway.cli import run

    (tmp_path / "list.csv").write_text("net.onnx,a.vnnlib\n")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    command = ["certify", "--instances", str(tmp_path / "list.csv"), "--out"]
    for out, message in (("gone/out.csv", "found no folder"), ("other.csv", "found a file with other columns")):
        assert run([*command, str(tmp_path / out)]) == 2
        assert message in capsys.readouterr().err


@needs_data
def test_command_prints_the_promised_keys(capsys):
    pytest.importorskip("onnxruntime")
    from cutaway.cli import run

    folder = DATA / "vnncomp2022" / "acasxu"
    network = str(folder / "onnx" / "ACASXU_run2a_1_9_batch_2000.onnx")
    assert run(["certify", network, str(folder / "vnnlib" / "prop_3.vnnlib"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"verdict", "witness", "bound", "seconds", "model_hash"} <= set(told)
    assert told["verdict"] == "falsified" and len(told["witness"]) == 5 and len(told["model_hash"]) == 64
    assert run(["certify", network, str(DATA / "no.vnnlib")]) == 2
    assert run(["certify", network, str(folder / "vnnlib" / "prop_3.vnnlib"), "--timeout", "0"]) == 2


def test_nothing_asked_of_the_output_is_met_by_any_point():
    model = nn.Linear(2, 1)
    net = bound_network(model, torch.zeros(1, 2))
    low = torch.zeros(2, dtype=torch.float64)
    clause = Clause(lower=low, upper=low + 1, matrix=torch.zeros(0, 1).double(), limits=torch.zeros(0).double())
    query = Query(clauses=(clause,), num_inputs=2, num_outputs=1)
    assert verify(net, query, module_replay(model, (2,)), VerifySettings(timeout=5)).status is Status.FALSIFIED
    assert split_inputs is not None


def test_momentum_alone_finds_a_planted_corner_and_its_witness_is_replayed(make_dense, monkeypatch):
    """A linear row is met only near one corner of the box: each way to descend must walk there on its own."""
    from cutaway.robustness.verify import search

    size = 40  # above the size at which starts are chosen among samples
    net, replay, model = subject((size, 2), make_dense)
    row = torch.tensor([1.0, -1.0], dtype=torch.float64)
    slope = (model[0].weight.T @ row).detach()
    least = float(model[0].bias.detach() @ row - 0.5 * slope.abs().sum())
    center = torch.zeros(size, dtype=torch.float64)
    for way in search.TURNS:
        monkeypatch.setattr(search, "TURNS", (way,))
        for limit, there in ((least + 0.02 * abs(least), True), (least - 1e-6, False)):
            problem = Problem.of(net, half_space_query(center, 0.5, row, limit), replay)
            witness, best = search.find_witness(problem, restarts=2, steps=60)
            assert (witness is not None) == there, way
            assert best >= least - limit - 1e-6  # the query stores its limit in float32
            if witness is not None:
                assert float(replay(witness) @ row) <= limit and float(witness.abs().max()) <= 0.5


def test_witnesses_of_many_boxes_are_met_and_none_is_missed_where_most_of_the_box_is(make_dense):
    from cutaway.robustness.verify.search import witnesses_of_many

    net, replay, model = subject((12, 10, 2), make_dense)
    row = torch.tensor([1.0, -1.0], dtype=torch.float64)
    center = torch.zeros(12, dtype=torch.float64)
    values = model(2 * torch.rand(20_000, 12, generator=torch.Generator().manual_seed(0)).double() - 1).detach() @ row
    limits = [float(values.min()) - 10.0, float(values.median()), float(values.max())]
    clauses = tuple(c for limit in limits for c in half_space_query(center, 1.0, row, limit).clauses)
    problem = Problem.of(net, Query(clauses=clauses, num_inputs=12, num_outputs=2), replay)
    found = witnesses_of_many(problem)
    assert set(found) == {1, 2}
    for clause, witness in found.items():
        assert float(replay(witness) @ row) <= limits[clause] + 1e-6 and float(witness.abs().max()) <= 1
