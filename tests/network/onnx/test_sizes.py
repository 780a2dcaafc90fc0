"""Sizes written in an ONNX file are compared with the memory budget before memory is taken for them."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

onnx = pytest.importorskip("onnx")

from cutaway.errors import BudgetError, ModelError  # noqa: E402
from cutaway.files import within  # noqa: E402
from cutaway.network.onnx import load_onnx, read  # noqa: E402

BUDGET = 100_000_000
LARGE = 10**8
REDUCED = "r = ReduceMax<keepdims = 0>(c)\n y = Add(x, r)"
VALUES = {
    "ConstantOfShape": f"s = Constant<value_ints = [{LARGE}]>()\n c = ConstantOfShape(s)\n {REDUCED}",
    "Expand": f"s = Constant<value_ints = [{LARGE}, 1, 4]>()\n c = Expand(x, s)\n {REDUCED}",
    "Tile": f"s = Constant<value_ints = [1, {LARGE}]>()\n c = Tile(x, s)\n {REDUCED}",
    "Pad": f"s = Constant<value_ints = [0, {LARGE}, 0, {LARGE}]>()\n c = Pad(x, s)\n {REDUCED}",
    "Pad in edge mode": f's = Constant<value_ints = [0, {LARGE}, 0, 1]>()\n c = Pad<mode = "edge">(x, s)\n {REDUCED}',
    "Range": f"a = Constant<value_int = 0>()\n b = Constant<value_int = {LARGE}>()\n d = Constant<value_int = 1>()\n"
    f"i = Range(a, b, d)\n c = Cast<to = 1>(i)\n {REDUCED}",
    "Add": "s = Constant<value_ints = [10000, 1]>()\n a = ConstantOfShape(s)\n t = Constant<value_ints = [1, 10000]>()\n"
    f"b = ConstantOfShape(t)\n c = Add(a, b)\n {REDUCED}",
    "Conv": "a = Constant<value_ints = [1, 1, 4]>()\n i = Reshape(x, a)\n w = Constant<value_floats = [1.0]>()\n"
    f"b = Constant<value_ints = [1, 1, 1]>()\n k = Reshape(w, b)\n c = Conv<pads = [{LARGE}, {LARGE}]>(i, k)\n {REDUCED}",
    "MaxPool": f"a = Constant<value_ints = [1, 1, 4]>()\n i = Reshape(x, a)\n c = MaxPool<kernel_shape = [{LARGE}], "
    f"pads = [{LARGE - 1}, {LARGE - 1}]>(i)\n {REDUCED}",
}


def saved(folder, body):
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> g (float[1, 4] x) => (float[N] y) {{ {body} }}'
    )
    model.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save(model, folder / "m.onnx")
    return folder / "m.onnx"


@pytest.fixture(autouse=True)
def budget(monkeypatch):
    monkeypatch.setattr(read, "default_budget", lambda: BUDGET)


class Largest(TorchDispatchMode):
    """The bytes of the largest tensor with memory that is made."""

    size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.device.type != "meta":
            self.size = max(self.size, result.numel() * result.element_size())
        return result


@pytest.mark.parametrize("op", VALUES)
def test_a_result_beyond_the_budget_is_refused_with_its_node_and_size(tmp_path, op):
    path = saved(tmp_path, VALUES[op])
    with Largest() as largest, pytest.raises(BudgetError, match=rf"node '{op.split()[0]}_\d+' .*results of shape "):
        load_onnx(path)
    assert 0 < largest.size <= BUDGET


@pytest.mark.parametrize("op", [op for op in VALUES if op not in ("Conv", "MaxPool", "Add")])
def test_the_same_node_with_a_small_size_is_read(tmp_path, op):
    assert load_onnx(saved(tmp_path, VALUES[op].replace(str(LARGE), "1000"))).checked_by


@pytest.mark.parametrize("op", ["ConstantOfShape", "Expand", "Tile", "Pad"])
def test_a_size_beyond_all_numbers_is_refused(tmp_path, op):
    with pytest.raises(ModelError, match=f"node '{op}_1'"):
        load_onnx(saved(tmp_path, VALUES[op].replace(str(LARGE), str(2**62))))


def test_a_shape_of_more_than_a_million_sizes_is_refused_before_it_is_a_list(tmp_path):
    body = "s = Constant<value_ints = [2000000]>()\n c = ConstantOfShape<value = int64[1] {1}>(s)\n y = Reshape(x, c)"
    with pytest.raises(ModelError, match="2000000 sizes or positions"):
        load_onnx(saved(tmp_path, body))


def test_weights_are_counted_twice_and_values_as_often_as_rows_are_tried(tmp_path):
    """Six million numbers of 4 bytes: twice they fit into 100 MB, twelve times they do not."""
    constant = f"s = Constant<value_ints = [6000000]>()\n c = ConstantOfShape(s)\n {REDUCED}"
    assert load_onnx(saved(tmp_path, constant)).checked_by
    with pytest.raises(BudgetError, match="12 results"):
        load_onnx(saved(tmp_path, VALUES["Tile"].replace(str(LARGE), "1500000")))


def test_the_budget_that_was_given_counts_in_place_of_the_default_one(tmp_path):
    path = saved(tmp_path, VALUES["Tile"].replace(str(LARGE), "100000"))
    assert load_onnx(path).checked_by
    with within(10_000_000), pytest.raises(BudgetError, match="at most 10 MB"):
        load_onnx(path)


def test_many_values_that_fit_one_by_one_are_counted_together(tmp_path):
    """Thirty of 1.2 MB each, held until the last; twelve times one of them fits."""
    lines = [f"t{k} = Tile(x, s)" for k in range(30)]
    body = "\n".join(
        ["s = Constant<value_ints = [1, 75000]>()", *lines, f"c = Sum({', '.join(f't{k}' for k in range(30))})"]
    )
    path = saved(tmp_path, f"{body}\n{REDUCED}")
    with within(20_000_000), pytest.raises(BudgetError, match="values of one row as far as"):
        load_onnx(path)
    with within(60_000_000), pytest.raises(BudgetError, match="several rows of .* held together"):
        load_onnx(path)
    with within(500_000_000):
        assert load_onnx(path).checked_by
