"""No verdict on a network that was imported wrongly, and no certificate that nothing was compared with."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from torch import nn

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from cutaway.data import Dataset  # noqa: E402
from cutaway.errors import InputError, MissingExtra, ModelError  # noqa: E402
from cutaway.network.graph import trace  # noqa: E402
from cutaway.network.onnx import load_onnx  # noqa: E402
from cutaway.network.onnx.functions import FUNCTIONS  # noqa: E402
from cutaway.robustness.bounds.network import bound_network  # noqa: E402
from cutaway.robustness.certified_share import certified_accuracy  # noqa: E402
from cutaway.robustness.query import Clause, Query  # noqa: E402
from cutaway.robustness.verify import import_check  # noqa: E402
from cutaway.robustness.verify.onnx_query import open_module, open_onnx, verify_vnnlib  # noqa: E402
from cutaway.robustness.verify.replay import file_hash  # noqa: E402
from cutaway.robustness.verify.verdict import VerifySettings  # noqa: E402
from cutaway.status import Status  # noqa: E402

SETTINGS = VerifySettings(timeout=10.0)


def at_most(limit, low, high, inputs=1):
    """Is there x in the box [low, high] with y <= limit?"""
    ends = (torch.full((inputs,), float(end), dtype=torch.float64) for end in (low, high))
    lower, upper = ends
    one = torch.ones(1, 1, dtype=torch.float64)
    clause = Clause(lower=lower, upper=upper, matrix=one, limits=torch.tensor([limit], dtype=torch.float64))
    return Query(clauses=(clause,), num_inputs=inputs, num_outputs=1)


@pytest.fixture
def tent(tmp_path):
    """y = |x - 0.3|, with named nodes."""
    nodes = [
        helper.make_node("Sub", ["x", "c"], ["z"], name="shift"),
        helper.make_node("Abs", ["z"], ["y"], name="fold"),
    ]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 1)) for name in "xy"]
    constants = [numpy_helper.from_array(np.array([0.3], dtype=np.float32), "c")]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:], constants)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "tent.onnx"
    )
    return tmp_path / "tent.onnx"


@pytest.fixture
def property_file(tmp_path):
    text = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (>= X_0 0.5))(assert (<= X_0 1))(assert (<= Y_0 0))"
    (tmp_path / "held.vnnlib").write_text(text)
    return tmp_path / "held.vnnlib"


class TestPlantedFaults:
    def test_everywhere_wrong_is_refused_by_the_name_of_the_node(self, tent, property_file, monkeypatch):
        monkeypatch.setitem(FUNCTIONS, "Abs", lambda _attributes, x: x.abs() + 0.1)
        with pytest.raises(ModelError, match=r"node 'fold' of .*tent.onnx.*differs from onnxruntime's"):
            load_onnx(tent)
        with pytest.raises(ModelError, match="node 'fold'"):
            verify_vnnlib(tent, property_file, SETTINGS)

    def test_wrong_in_the_box_only(self, tent, monkeypatch):
        """Round the example, in [0, 1], the import is right."""
        monkeypatch.setitem(FUNCTIONS, "Abs", lambda _attributes, x: x.abs() + (x.abs() - 3).clamp(min=0))
        load_onnx(tent)
        assert open_onnx(tent).decide(at_most(0.1, 1, 2), SETTINGS).status is Status.CERTIFIED
        with pytest.raises(ModelError, match="node 'fold'"):
            open_onnx(tent).decide(at_most(0.1, 5, 6), SETTINGS)

    def test_wrong_in_a_corner_that_no_search_visits(self, tent, monkeypatch):
        """The search goes to 5, where the output is least."""
        monkeypatch.setitem(FUNCTIONS, "Abs", lambda _attributes, x: x.abs() + (x - 5.69).clamp(min=0))
        with pytest.raises(ModelError, match="node 'fold'"):
            open_onnx(tent).decide(at_most(0.1, 5, 6), SETTINGS)

    def test_wrong_only_where_the_search_for_a_witness_goes(self, tent, monkeypatch):
        """The import never falls below 0.002, so that it would be proved never to reach 0.0005."""
        monkeypatch.setitem(FUNCTIONS, "Abs", lambda _attributes, x: torch.maximum(x.abs(), 0 * x + 0.002))
        with pytest.raises(ModelError, match="node 'fold'"):
            open_onnx(tent).decide(at_most(0.0005, 0, 1), SETTINGS)

    def test_an_operator_that_it_cannot_compute_there(self, tent, monkeypatch):
        def refuses(_attributes, x):
            raise RuntimeError("no such shape")

        problem = open_onnx(tent)
        object.__setattr__(problem, "replay", lambda point: point + 7)
        monkeypatch.setitem(FUNCTIONS, "Abs", refuses)
        with pytest.raises(ModelError, match="no such shape"):
            problem.decide(at_most(0.1, 1, 2), SETTINGS)

    def test_rounding_is_no_fault(self, tent):
        """onnxruntime has float32: at 1e8 its difference is off by 1, and both are right."""
        found = open_onnx(tent).decide(at_most(0.1, 0.29999999, 0.30000004), SETTINGS)
        assert found.status is Status.FALSIFIED


class TestNothingToCompareWith:
    @pytest.fixture
    def alone(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        monkeypatch.setitem(sys.modules, "onnx.reference", None)

    def test_no_certificate_and_what_to_install(self, tent, property_file, alone):
        found = open_onnx(tent).decide(at_most(0.1, 1, 2), SETTINGS)
        assert found.status is Status.UNKNOWN
        assert "pip install 'cutaway[onnx]'" in found.reason
        verdict, _ = verify_vnnlib(tent, property_file, SETTINGS)
        assert verdict.status is Status.UNKNOWN and "pip install 'cutaway[onnx]'" in verdict.reason

    def test_no_certified_accuracy(self, tent, alone):
        data = Dataset(name="d", inputs=torch.rand(4, 1), labels=torch.zeros(4, dtype=torch.int64))
        with pytest.raises(MissingExtra, match="onnxruntime"):
            certified_accuracy(load_onnx(tent), data, radius=0.01)

    def test_the_reference_evaluator_is_enough(self, tent, monkeypatch):
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        assert load_onnx(tent).checked_by == "onnx's reference evaluator"
        assert open_onnx(tent).decide(at_most(0.1, 1, 2), SETTINGS).status is Status.CERTIFIED


class OtherWhenExported(nn.Module):
    """Twice the input, but three times what exceeds `bend` unless it is being exported."""

    def __init__(self, bend=50.0, outputs=1):
        super().__init__()
        self.layer, self.bend = nn.Linear(1, outputs), bend
        nn.init.constant_(self.layer.weight, 2.0)
        nn.init.ones_(self.layer.bias)
        self.layer.bias.data[1:] = 0.0

    def forward(self, x):
        y = self.layer(x)
        return y if torch.compiler.is_exporting() else y + 3 * (x - self.bend).clamp(min=0)


class TestModules:
    def test_a_graph_that_differs_round_the_example(self):
        with pytest.raises(ModelError, match="graph of OtherWhenExported differs from the model"):
            trace(OtherWhenExported(bend=1.2), torch.ones(1, 1))
        trace(OtherWhenExported(), torch.ones(1, 1))

    def test_a_graph_that_differs_in_the_box(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "other_when_exported", sys.modules[__name__])
        problem = open_module("other_when_exported:OtherWhenExported", 1)
        assert problem.decide(at_most(0.5, 1, 2), SETTINGS).status is Status.CERTIFIED
        with pytest.raises(ModelError, match="graph of OtherWhenExported differs from the model"):
            problem.decide(at_most(0.5, 60, 61), SETTINGS)

    def test_a_graph_that_differs_in_a_region_of_the_data(self):
        model, labels = OtherWhenExported(outputs=2), torch.zeros(4, dtype=torch.int64)
        net = bound_network(model, torch.ones(1, 1))

        def at(value):
            inputs = torch.full((4, 1), value)
            data = Dataset(name="d", inputs=inputs, labels=labels, value_range=(0.0, 100.0))
            return certified_accuracy(model, data, radius=0.1, bounded=net)

        assert at(1.0).certified.all()
        with pytest.raises(ModelError, match="differs from the model"):
            at(60.0)


def test_at_least_sixteen_points_of_every_box():
    """Corners and centre, within the box, of one box as of forty."""
    one = import_check.points_of(torch.tensor([[[0.0, -1.0], [2.0, 3.0]]], dtype=torch.float64))
    assert len(one) >= 16
    for wanted in ([0, -1], [2, 3], [1, 1]):
        assert bool((one == torch.tensor(wanted, dtype=torch.float64)).all(1).any())
    assert bool(((one >= torch.tensor([0, -1])) & (one <= torch.tensor([2, 3]))).all())
    low = torch.arange(40.0, dtype=torch.float64)[:, None]
    many = import_check.points_of(torch.stack([low, low + 0.5], 1))
    assert len(many) >= 16 and many.min() == 0 and many.max() == 39.5


def test_the_hash_covers_weights_in_a_file_of_their_own(tmp_path):
    """The same file beside other weights is another network; without weights of its own the hash is the file's."""
    hashes = []
    for value in (1.0, 2.0, 1.0):
        weight = numpy_helper.from_array(np.full((4, 3), value, np.float32), "w")
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, size)) for name, size in (("x", 4), ("y", 3))
        ]
        graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weight])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        path = tmp_path / "net.onnx"
        (tmp_path / "net.data").unlink(missing_ok=True)
        onnx.save(model, path, save_as_external_data=True, location="net.data", size_threshold=0)
        hashes.append((path.read_bytes(), file_hash(path)))
    assert hashes[0][0] == hashes[1][0]
    assert hashes[0][1] == hashes[2][1] != hashes[1][1]


class TestRoundingOfTheWhole:
    """Every node agrees alone, and yet the model as it runs gives another thing than its real values."""

    @pytest.fixture
    def cancelling(self, tmp_path):
        """y = 1e9 (1 - sigmoid(x)): .76 to 2.06 for x in [20, 21], and 0 or 59.6 in float32."""
        nodes = [
            helper.make_node("Sigmoid", ["x"], ["s"], name="squash"),
            helper.make_node("Sub", ["one", "s"], ["d"], name="rest"),
            helper.make_node("Mul", ["d", "big"], ["y"], name="scale"),
        ]
        value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 1)) for name in "xy"]
        constants = [numpy_helper.from_array(np.array([v], np.float32), k) for k, v in (("one", 1), ("big", 1e9))]
        graph = helper.make_graph(nodes, "g", value[:1], value[1:], constants)
        path = tmp_path / "cancelling.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path

    def test_no_certificate_where_rounding_moves_the_whole(self, cancelling):
        """No y in [2.5, 10] for x in [20, 21]: but what rounding changes is more than what is missing."""
        found = open_onnx(cancelling).decide(between(2.5, 10.0, 20, 21), SETTINGS)
        assert found.status is Status.UNKNOWN
        assert "rounding changes the model's outputs by" in found.reason and "--deployment" in found.reason

    def test_a_proof_that_the_model_as_it_runs_contradicts_is_falsified(self, cancelling):
        """Really y > .7 everywhere; the file gives 0."""
        found = open_onnx(cancelling).decide(at_most(0.3, 20, 21), SETTINGS)
        assert found.status is Status.FALSIFIED
        assert found.witness is not None and 20 <= float(found.witness) <= 21
        assert open_onnx(cancelling).replay(found.witness).item() == found.output.item() == 0.0
        real = 1e9 * (1 - 1 / (1 + math.exp(-float(found.witness))))
        assert (
            f"only as the model runs: in real arithmetic its output there is [{real:.6g}], which is no" in found.reason
        )
        deployed = VerifySettings(timeout=10.0, deployment=torch.float32)
        assert open_onnx(cancelling).decide(at_most(0.3, 20, 21), deployed).status is Status.FALSIFIED
        assert open_onnx(cancelling).decide(at_most(3.0, 20, 21), SETTINGS).reason == "", "a witness in both"

    def test_a_deployment_has_its_own_bound_of_rounding(self, cancelling):
        settings = VerifySettings(timeout=10.0, deployment=torch.float32)
        assert open_onnx(cancelling).decide(between(5e3, 1e4, 20, 21), settings).status is Status.CERTIFIED
        assert open_onnx(cancelling).decide(between(5.0, 10.0, 20, 21), settings).status is not Status.CERTIFIED

    def test_rounding_of_a_module(self):
        model = Cancelling()
        data = Dataset(name="d", inputs=torch.full((4, 1), 20.5), labels=torch.zeros(4, dtype=torch.int64))
        data = Dataset(name="d", inputs=data.inputs, labels=data.labels, value_range=(0.0, 100.0))
        with pytest.raises(ModelError, match="rounding changes them by .* Run it in float64"):
            certified_accuracy(model, data, radius=0.1)
        double = Dataset(name="d", inputs=data.inputs.double(), labels=data.labels, value_range=(0.0, 100.0))
        assert certified_accuracy(model.double(), double, radius=0.1).certified.all()


class Cancelling(nn.Module):
    """Two outputs, 1e9 (1 - sigmoid(x)) and 0."""

    def __init__(self):
        super().__init__()
        self.register_buffer("big", torch.tensor([1e9, 0.0]))

    def forward(self, x):
        return (1 - torch.sigmoid(x)) * self.big


def between(least, most, low, high):
    """Is there x in [low, high] with least <= y <= most?"""
    query = at_most(most, low, high)
    (clause,) = query.clauses
    matrix = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    limits = torch.tensor([most, -least], dtype=torch.float64)
    both = Clause(lower=clause.lower, upper=clause.upper, matrix=matrix, limits=limits)
    return Query(clauses=(both,), num_inputs=1, num_outputs=1)


def test_a_file_is_read_once_however_many_differences_are_explained(tent, monkeypatch):
    problem, reads = open_onnx(tent), []
    monkeypatch.setattr(
        import_check, "load_onnx", lambda *given, **more: reads.append(given) or load_onnx(*given, **more)
    )
    monkeypatch.setattr(import_check, "close", lambda *sides: len(sides) > 2)  # every point is told apart from float32
    points = torch.rand(20, problem.bounded.graph.input.numel, dtype=torch.float64)
    import_check.check_points(problem.bounded, problem.replay, points, problem.explain)
    assert len(reads) == 2


def test_an_output_without_a_batch_dimension(tmp_path):
    """y = (x_0 - mean) summed, of shape (): the file as exporters of scalar functions write it."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], keepdims=1),
        helper.make_node("Sub", ["x", "m"], ["d"]),
        helper.make_node("ReduceSum", ["d"], ["y"], keepdims=0),
    ]
    value = [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 2)), helper.make_empty_tensor_value_info("y")]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:])
    path = tmp_path / "scalar.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    assert open_onnx(path).decide(at_most(-0.5, 0, 1, inputs=2), SETTINGS).status is Status.CERTIFIED
    assert open_onnx(path).decide(at_most(0.5, 0, 1, inputs=2), SETTINGS).status is Status.FALSIFIED


def test_a_search_that_tried_no_point_has_no_witness():
    nothing = import_check.Compared(torch.empty(0), torch.empty(0, 1, dtype=torch.float64), 0.0)
    assert nothing.witness(at_most(1.0, 0, 1, inputs=2)) is None and not nothing.mostly_rounding


def test_one_output_has_no_margin_between_classes():
    data = Dataset(name="d", inputs=torch.rand(4, 3), labels=torch.zeros(4, dtype=torch.int64))
    with pytest.raises(InputError, match=r"found one output; expected an output for each class.* VNN-LIB"):
        certified_accuracy(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)), data, radius=0.01)


def rounding_file(tmp_path, to: int, *, double: bool = False):
    """y = Cast(Cast(x)) - x: zero in real arithmetic, what the narrower type rounds off in the file."""
    kind = TensorProto.DOUBLE if double else TensorProto.FLOAT
    nodes = [
        helper.make_node("Cast", ["x"], ["narrow"], to=to),
        helper.make_node("Cast", ["narrow"], ["back"], to=kind),
        helper.make_node("Sub", ["back", "x"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, kind, [1, 2]) for name in "xy"]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:]), opset_imports=[helper.make_opsetid("", 18)]
    )
    model.ir_version = 8
    path = tmp_path / "rounds.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(("to", "threshold"), [(TensorProto.FLOAT16, 2.435e-4), (TensorProto.FLOAT, 2.9e-8)])
def test_what_a_file_rounds_on_its_way_is_not_certified(tmp_path, to, threshold):
    """The maximum of |y| is rare: neither the attack nor the compared points find it."""
    path = rounding_file(tmp_path, to, double=to == TensorProto.FLOAT)
    spec = tmp_path / "p.vnnlib"
    declared = "".join(f"(declare-const {v}_{i} Real)" for v in "XY" for i in (0, 1))
    box = "".join(f"(assert (>= X_{i} 0.5))(assert (<= X_{i} 1.0))" for i in (0, 1))
    spec.write_text(f"{declared}{box}(assert (>= Y_0 {threshold:.10f}))")
    verdict, _ = verify_vnnlib(path, spec, VerifySettings(timeout=3.0))
    assert verdict.status in (Status.UNKNOWN, Status.FALSIFIED)
    if verdict.status is Status.UNKNOWN:
        assert "rounds to" in verdict.reason


@pytest.mark.parametrize(("number", "found"), [(0.1, "rounds a constant to float16"), (0.5, "")])
def test_a_constant_that_the_file_rounds_counts_where_it_changes(tmp_path, number, found):
    nodes = [
        helper.make_node("Cast", ["c"], ["narrow"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["narrow"], ["back"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "back"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in "xy"]
    constant = numpy_helper.from_array(np.array([number, number], np.float32), "c")
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 8
    onnx.save(model, tmp_path / "c.onnx")
    narrows = open_onnx(tmp_path / "c.onnx").narrows
    assert found in narrows and bool(narrows) == bool(found)


class Halving(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x) + 1e-3 * (x.half().float() - x).sum(1, keepdim=True)


def test_a_module_that_computes_in_half_precision_gets_no_certificate():
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    data = Dataset(name="d", inputs=torch.rand(6, 2), labels=torch.zeros(6, dtype=torch.int64), num_classes=2)
    with pytest.raises(ModelError, match="half precision|differs from the model"):
        certified_accuracy(Halving(inner), data, radius=1e-3)
