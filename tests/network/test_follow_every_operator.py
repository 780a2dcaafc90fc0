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


def results(op, sample, x, joint):
    """What the operator gives at x, with the same random numbers every time. `joint`: its other operands move too."""
    torch.manual_seed(0)

    def moved(value):
        moves = joint and isinstance(value, torch.Tensor) and value.is_floating_point()
        return value.detach() * (1 + x.flatten()[0]) if moves else value

    return tensors(op.op(x, *map(moved, sample.args), **{k: moved(v) for k, v in sample.kwargs.items()}))


def runs(op, sample, x, joint):
    """Whether the operator takes these operands: moved ones may lie outside its domain."""
    try:
        return bool(results(op, sample, x.clone(), joint))
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError):
        return False


def problem(op, sample, x, joint=False):
    inputs = x.clone()
    follower = Follower(inputs)
    with follower:
        found = results(op, sample, inputs, joint)
    marks = [follower.mark(t) for t in found]
    if any(not bend.piecewise for bend in follower.bends):
        return ""
    errors = [error_on(op, sample, x, marks, seed, joint, 1e-4 if follower.bends else 1.0) for seed in range(1, 5)]
    return "" if 0 in errors else f"{op.name} {op.variant_test_name} {sample.kwargs}: {marks}, {errors}"


def error_on(op, sample, x, marks, seed, joint, step):
    """0, or how far a segment through x is from what the marks say; a kink may lie on one segment, not on all."""
    torch.manual_seed(seed)
    away = torch.randn_like(x) * step
    if not all(runs(op, sample, p, joint) for p in (x + away, x - away)):
        return 0
    middle, right, left = (results(op, sample, p.clone(), joint) for p in (x, x + away, x - away))
    for mark, m, r, l in zip(marks, middle, right, left, strict=True):
        if not m.numel() or m.shape != r.shape or (mark is not None and not mark.whole):
            continue
        m, r, l = (t if t.is_floating_point() or t.is_complex() else t.to(torch.float64) for t in (m, r, l))
        error = (r - m) if mark is None else (r + l - 2 * m)
        if not float(error.abs().max()) <= (1e-10 if step < 1 else 1e-7) * (1 + float(m.abs().max())):
            return float(error.abs().max())
    return 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_nothing_said_of_an_operator_is_false():
    wrong, asked = [], set()
    with torch.no_grad():
        for op, sample, x in samples():
            for joint in (False, True):
                if not runs(op, sample, x, joint):
                    continue
                found = problem(op, sample, x, joint)
                asked.add(op.name)
                wrong += [found] if found else []
    assert len(asked) > 450
    assert wrong == []
