"""Rows of a batch are run together only where each is computed by itself, whatever their number. Oracle: onnxruntime,
row by row."""

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from cutaway.network.onnx import load_onnx  # noqa: E402

SHAPE = "float[N, 4, 2]"
NUMBER = "s = Shape(x)\n zero = Constant<value_ints = [0]>()\n n = Gather(s, zero)\n"


def opened(folder, body, shape=SHAPE, opset=17):
    text = f'<ir_version: 8, opset_import: ["": {opset}]> g ({shape} x) => (float[N] y) {{ {body} }}'
    model = onnx.parser.parse_model(text)
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save(model, folder / "m.onnx")
    return load_onnx(folder / "m.onnx"), onnxruntime.InferenceSession(str(folder / "m.onnx"))


def agrees_for_any_number_of_rows(model, session):
    """Six rows and five, of which some single numbers are large: what each row alone gives."""
    generator = torch.Generator().manual_seed(4)
    for num in (1, 5, 6):
        rows = 3 * torch.randn((num, *model.input_shape), generator=generator)
        alone = np.concatenate([session.run(None, {"x": row[None].numpy()})[0] for row in rows])
        np.testing.assert_allclose(model(rows).numpy(), alone, atol=1e-5)


MIXING = {
    "a size under a sign": NUMBER + "c = Cast<to = 1>(n)\n d = Add(x, c)\n y = Sign(d)",
    "a size added to whole numbers": "i = Cast<to = 7>(x)\n s = Size(x)\n t = Add(i, s)\n y = Cast<to = 1>(t)",
    "a product of sizes under a minimum": "s = Shape(x)\n c = Cast<to = 1>(s)\n p = ReduceProd<keepdims = 0>(c)\n"
    "m = Mul(x, p)\n o = Constant<value_float = -9.0>()\n y = Min(m, o)",
    "a quarter of the number of rows": NUMBER + "f = Constant<value_ints = [4]>()\n q = Div(n, f)\n"
    "o = Constant<value_ints = [1]>()\n p = Add(q, o)\n r = Expand(x, p)\n e = Cast<to = 1>(q)\n y = Add(r, e)",
    "one number of rows told apart": NUMBER + "f = Constant<value_ints = [5]>()\n e = Equal(n, f)\n"
    "w = Where(e, f, zero)\n c = Cast<to = 1>(w)\n y = Add(x, c)",
    "a norm over the rows under a sign": "r = ReduceL2<axes = [0]>(x)\n t = Sign(r)\n y = Mul(t, x)",
    "a largest row of saturated numbers": "t = Sign(x)\n r = ReduceMax<axes = [0]>(t)\n y = Add(x, r)",
    "signs in the opposite order": "a = Constant<value_ints = [-1]>()\n e = Constant<value_ints = [-99]>()\n"
    "b = Constant<value_ints = [0]>()\n t = Sign(x)\n r = Slice(t, a, e, b, a)\n y = Add(x, r)",
    "rows in the opposite order": "a = Constant<value_ints = [-1]>()\n e = Constant<value_ints = [-99]>()\n"
    "b = Constant<value_ints = [0]>()\n r = Slice(x, a, e, b, a)\n c = Clip(r, z, z)\n y = Add(x, c)",
    "a softmax of everything": "t = Softmax<axis = 0>(x)\n y = Add(x, t)",
    "positions along the rows": "i = ArgMax<axis = 0, keepdims = 1>(x)\n c = Cast<to = 1>(i)\n y = Add(x, c)",
}


@pytest.mark.parametrize("body", MIXING.values(), ids=MIXING)
def test_rows_that_would_mix_are_run_one_by_one(tmp_path, body):
    body = "z = Constant<value_float = 0.0>()\n" + body
    model, session = opened(tmp_path, body, opset=12 if "Softmax" in body else 17)
    assert not model.batch_free
    agrees_for_any_number_of_rows(model, session)


APART = {
    "the exporter's flatten": NUMBER + "m = Constant<value_ints = [-1]>()\n t = Concat<axis = 0>(n, m)\n"
    "y = Reshape(x, t)",
    "the exporter's expand": NUMBER + "m = Constant<value_ints = [-1]>()\n o = Constant<value_ints = [1]>()\n"
    "e = Equal(n, m)\n w = Where(e, o, n)\n k = Constant<value_ints = [4, 2]>()\n t = Concat<axis = 0>(w, k)\n"
    "b = Constant<value_floats = [1.5, 2.5]>()\n c = Expand(b, t)\n y = Add(x, c)",
    "windows moved into the rows and back": NUMBER + "k = Constant<value_ints = [2]>()\n m = Mul(n, k)\n"
    "w = Constant<value_ints = [2, 2]>()\n t = Concat<axis = 0>(m, w)\n a = Reshape(x, t)\n"
    "r = ReduceMax<axes = [1]>(a)\n q = Shape(r)\n q0 = Gather(q, zero)\n d = Div(q0, k)\n"
    "v = Constant<value_ints = [4]>()\n u = Concat<axis = 0>(d, v)\n y = Reshape(r, u)",
    "rows as the second dimension": "t = Transpose<perm = [1, 0, 2]>(x)\n u = Softmax<axis = 0>(t)\n"
    "y = Transpose<perm = [1, 0, 2]>(u)",
}


@pytest.mark.parametrize("body", APART.values(), ids=APART)
def test_rows_that_stay_apart_are_run_together(tmp_path, body):
    model, session = opened(tmp_path, body)
    assert model.batch_free
    agrees_for_any_number_of_rows(model, session)


def test_a_part_of_a_split_that_nobody_takes_counts(tmp_path):
    model, _ = opened(tmp_path, "y, rest = Split<axis = 1>(x)")
    assert model(torch.ones(1, 4, 2)).shape == (1, 2, 2)
