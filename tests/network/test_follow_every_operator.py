"""Every operator that torch has, on torch's own test inputs: is what is said of it true of the numbers?

Oracle: torch's data base of operators (`op_db`, over 500 of them), central differences. An operator without a bend is
affine between points far apart; one that is only piecewise affine has no second difference near a point.
"""

import warnings

import pytest
import torch

from cutaway.network.follow import Follower

ROUNDED = {"half", "bfloat16", "chalf", "float", "cfloat"}  # casts: affine but for their rounding
RANDOM = {"empty_like", "new_empty", "new_empty_strided", "empty", "empty_permuted"}  # uninitialised memory
KINKED = {("linalg.norm", "subgradients_at_zero"), ("addr", "")}  # at its kink; 0 * an input that is NaN


def samples():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db
    for op in op_db:
        if op.name in ROUNDED | RANDOM or op.name.startswith("jiterator") or (op.name, op.variant_test_name) in KINKED:
            continue
        if op.supports_dtype(torch.float64, "cpu"):
            for sample in list(op.sample_inputs("cpu", torch.float64))[:4]:
                x = sample.input
                if isinstance(x, torch.Tensor) and x.is_floating_point() and x.numel():
                    yield op, sample, x.detach()


def tensors(result):
    parts = result if isinstance(result, tuple | list) else [result]
    return [t for t in parts if isinstance(t, torch.Tensor)]


def numbers(op, sample, x):
    """The floating results at x, in float64 or complex; the same random numbers every time."""
    torch.manual_seed(0)
    return tensors(op.op(x.clone(), *sample.args, **sample.kwargs))


def problem(op, sample, x):
    inputs = x.clone()
    follower = Follower(inputs)
    torch.manual_seed(0)
    with follower:
        found = tensors(op.op(inputs, *sample.args, **sample.kwargs))
    marks = [follower.mark(t) for t in found]
    if any(not bend.piecewise for bend in follower.bends):
        return ""
    errors = [error_on(op, sample, x, marks, seed, 1e-4 if follower.bends else 1.0) for seed in range(1, 5)]
    return "" if 0 in errors else f"{op.name} {op.variant_test_name} {sample.kwargs}: {marks}, {errors}"


def error_on(op, sample, x, marks, seed, step):
    """0, or how far a segment through x is from what the marks say; a kink may lie on one segment, not on all."""
    torch.manual_seed(seed)
    away = torch.randn_like(x) * step
    middle, right, left = (numbers(op, sample, p) for p in (x, x + away, x - away))
    for mark, m, r, l in zip(marks, middle, right, left, strict=True):
        if not m.numel() or m.dtype in (torch.bool, torch.int64) or m.shape != r.shape:
            continue
        error = (r - m) if mark is None else (r + l - 2 * m) if mark.whole else torch.zeros(1)
        if not float(error.abs().max()) <= (1e-10 if step < 1 else 1e-7) * (1 + float(m.abs().max())):
            return float(error.abs().max())
    return 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_nothing_said_of_an_operator_is_false():
    wrong, asked = [], set()
    with torch.no_grad():
        for op, sample, x in samples():
            try:
                found = problem(op, sample, x)
            except (RuntimeError, ValueError, TypeError, IndexError, AttributeError):
                continue  # inputs moved out of the operator's domain
            asked.add(op.name)
            wrong += [found] if found else []
    assert len(asked) > 450
    assert wrong == []
