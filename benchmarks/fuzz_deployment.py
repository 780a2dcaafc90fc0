"""Fuzzing of `certify --deployment`: random ONNX networks of hostile scales, run by onnxruntime in float32.

    python benchmarks/fuzz_deployment.py [--networks 300] [--points 1000] [--seed 0] [--first 0] [--json]

Network k of a seed is always the same: vectors or pictures through every operator of `PARTS`, with constants between
1e-30 and 1e30, and a box of inputs of any such scale. The certified interval is that of a CROWN sweep, widened by the
deployment radius on each side (the verifier uses twice that). Every float32 output of onnxruntime, with its graph
rewriting on (the default) and off, in one batch and one by one, must lie inside; each that does not is printed with the
command that repeats it, and the exit code is 1. Intervals that are infinite or not a number promise nothing: their
share is reported.
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from cutaway.errors import CutawayError
from cutaway.network.onnx import load_onnx
from cutaway.robustness.bounds.deployment import deployment_radius
from cutaway.robustness.bounds.network import bound_network
from cutaway.robustness.bounds.sweep import sweep
from cutaway.robustness.regions import box

SINGLE_RUNS = 20
LEVELS = (
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
)


@dataclass(slots=True)
class Tally:
    """What was looked at, and what broke."""

    networks: int = 0
    evaluations: int = 0
    intervals: int = 0
    finite: int = 0
    operators: collections.Counter = field(default_factory=collections.Counter)
    refused: collections.Counter = field(default_factory=collections.Counter)
    broken: list[str] = field(default_factory=list)


class Draft:
    """An ONNX graph under construction; `name` is its last value, of shape (batch, *shape)."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.nodes, self.constants, self.name = rng, [], [], "x"
        self.mild = rng.random() < 0.4
        self.shape: tuple[int, ...] = (int(rng.integers(1, 6)),)
        if rng.random() < 0.4:
            self.shape = (int(rng.integers(1, 4)), int(rng.integers(3, 6)), int(rng.integers(3, 6)))
        self.input_shape = self.shape

    def scale(self) -> float:
        """1 more or less, or anything from 1e-30 to 1e30."""
        calm = self.rng.random() < (0.9 if self.mild else 0.6)
        return float(10.0 ** self.rng.uniform(*((-1, 1) if calm else (-30, 30))))

    def constant(self, value) -> str:
        name = f"c{len(self.constants)}"
        array = np.asarray(value)
        array = array if array.dtype == np.int64 else array.astype(np.float32)
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def numbers(self, *shape: int) -> str:
        return self.constant(self.rng.standard_normal(shape) * self.scale())

    def positive(self, *shape: int) -> str:
        return self.constant((self.rng.random(shape) + 0.01) * self.scale())

    def add(self, op: str, *more: str, data: str | None = None, **attributes) -> str:
        name = f"v{len(self.nodes)}"
        first = [self.name if data is None else data]
        self.nodes.append(helper.make_node(op, first + list(more), [name], **attributes))
        self.name = name
        return name

    def model(self):
        graph = helper.make_graph(
            self.nodes,
            "made",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("N", *self.input_shape))],
            [helper.make_tensor_value_info(self.name, TensorProto.FLOAT, None)],
            self.constants,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
        made.ir_version = 9
        return made


def _back_and_forth(d: Draft) -> None:
    factor = d.constant(d.scale())
    first, second = ("Mul", "Div") if d.rng.random() < 0.5 else ("Div", "Mul")
    d.add(first, factor)
    d.add(second, factor)


def _shift_and_back(d: Draft) -> None:
    amount = d.constant(d.scale())
    d.add("Add", amount)
    d.add("Sub", amount)


def _gemm(d: Draft) -> None:
    if len(d.shape) != 1:
        d.add("Flatten")
        d.shape = (int(np.prod(d.shape)),)
    out = int(d.rng.integers(1, 6))
    alpha, beta = (1.0, 1.0) if d.rng.random() < 0.5 else (d.scale(), d.scale())
    if d.rng.random() < 0.5:
        d.add("Gemm", d.numbers(d.shape[0], out), d.numbers(out), alpha=alpha, beta=beta)
    else:
        d.add("MatMul", d.numbers(d.shape[0], out))
        d.add("Add", d.numbers(out))
    d.shape = (out,)


def _batch_norm(d: Draft) -> None:
    c = d.shape[0]
    d.add("BatchNormalization", d.numbers(c), d.numbers(c), d.numbers(c), d.positive(c), epsilon=1e-5)


def _convolution(d: Draft) -> None:
    if len(d.shape) != 3 or min(d.shape[1:]) < 2:
        return _gemm(d)
    out, k, pad = int(d.rng.integers(1, 4)), 2, int(d.rng.integers(0, 2))
    d.add("Conv", d.numbers(out, d.shape[0], k, k), d.numbers(out), kernel_shape=[k, k], pads=[pad] * 4)
    d.shape = (out, *(n + 2 * pad - k + 1 for n in d.shape[1:]))
    if d.rng.random() < 0.5:
        _batch_norm(d)
    return None


def _pool(d: Draft) -> None:
    if len(d.shape) != 3 or min(d.shape[1:]) < 2:
        return _gemm(d)
    d.add(("MaxPool", "AveragePool")[int(d.rng.integers(2))], kernel_shape=[2, 2], strides=[1, 1])
    d.shape = (d.shape[0], *(n - 1 for n in d.shape[1:]))
    return None


def _residual(d: Draft) -> None:
    before, shape = d.name, d.shape
    if len(shape) == 3:
        d.add("Conv", d.numbers(shape[0], shape[0], 3, 3), d.numbers(shape[0]), kernel_shape=[3, 3], pads=[1] * 4)
    else:
        d.add("MatMul", d.numbers(shape[0], shape[0]))
    if d.rng.random() < 0.5:
        d.add("Relu")
    d.add("Add", before)


def _centred(d: Draft) -> None:
    before = d.name
    middle = d.add("ReduceMean", d.constant(np.array([-1])), keepdims=1)
    d.add("Sub", middle, data=before)
    if d.rng.random() < 0.5:  # a layer norm spelled out, which onnxruntime fuses
        centred = d.name
        d.add("Pow", d.constant(2.0))
        d.add("ReduceMean", d.constant(np.array([-1])), keepdims=1)
        d.add("Add", d.constant(1e-5))
        d.add("Sqrt")
        d.add("Div", d.name, data=centred)
        d.add("Mul", d.numbers(d.shape[-1]))
        d.add("Add", d.numbers(d.shape[-1]))


def _layer_norm(d: Draft) -> None:
    d.add("LayerNormalization", d.numbers(d.shape[-1]), d.numbers(d.shape[-1]), axis=-1, epsilon=1e-5)


def _group_norm(d: Draft) -> None:
    if len(d.shape) != 3:
        return _layer_norm(d)
    c = d.shape[0]
    groups = int(d.rng.choice([n for n in range(1, c + 1) if c % n == 0]))
    if d.rng.random() < 0.5:
        d.add("InstanceNormalization", d.numbers(c), d.numbers(c), epsilon=1e-5)
    else:
        d.add("GroupNormalization", d.numbers(groups), d.numbers(groups), num_groups=groups, epsilon=1e-5)
    return None


def _local_response_norm(d: Draft) -> None:
    if len(d.shape) != 3:
        return _root_mean_square(d)
    numbers = {"alpha": abs(d.scale()), "beta": float(d.rng.uniform(0.3, 2)), "bias": abs(d.scale())}
    d.add("LRN", size=int(d.rng.choice([1, 3, 5])), **numbers)
    return None


def _root_mean_square(d: Draft) -> None:
    before = d.name
    d.add("Mul", before)
    d.add("ReduceMean", d.constant(np.array([-1])), keepdims=1)
    d.add("Add", d.positive(1))
    d.add("Sqrt")
    d.add("Div", d.name, data=before)
    d.add("Mul", d.numbers(d.shape[-1]))


def _root(d: Draft) -> None:
    d.add("Mul", d.name)
    d.add("Add", d.positive(1))
    d.add("Sqrt")


def _swish(d: Draft) -> None:
    before = d.name
    d.add("Sigmoid")
    d.add("Mul", before)


def _quotient(d: Draft) -> None:
    before = d.name
    d.add("Abs")
    d.add("Add", d.positive(1))
    d.add("Div", d.name, data=before)


def _plain(op: str, **attributes):
    return lambda d: d.add(op, **attributes) and None


FUNCTIONS = ("Relu", "Sigmoid", "Tanh", "Exp", "Selu", "Softplus", "Gelu", "Mish", "HardSwish", "Floor", "Sin", "Erf")
FUNCTIONS += ("Ceil", "Round", "Atan", "ThresholdedRelu", "Softsign")

PARTS = {
    "scale": lambda d: d.add("Mul", d.constant(d.scale())) and None,
    "shift": lambda d: d.add("Add", d.numbers(d.shape[-1])) and None,
    "divide": lambda d: d.add("Div", d.positive(1)) and None,
    "back and forth": _back_and_forth,
    "shift and back": _shift_and_back,
    "gemm": _gemm,
    "batch norm": _batch_norm,
    "convolution": _convolution,
    "pool": _pool,
    "residual": _residual,
    "centred": _centred,
    "layer norm": _layer_norm,
    "group norm": _group_norm,
    "local response norm": _local_response_norm,
    "root mean square": _root_mean_square,
    "root": _root,
    "swish": _swish,
    "quotient": _quotient,
    "square": lambda d: d.add("Pow", d.constant(2.0)) and None,
    "clip": lambda d: d.add("Clip", d.constant(-abs(d.scale())), d.constant(d.scale())) and None,
    "softmax": _plain("Softmax", axis=-1),
    "log softmax": _plain("LogSoftmax", axis=-1),
    "elu": lambda d: d.add("Elu", alpha=float(d.rng.uniform(0.2, 5))) and None,
    "leaky": lambda d: d.add("LeakyRelu", alpha=float(d.rng.uniform(-2, 2))) and None,
    "gelu tanh": _plain("Gelu", approximate="tanh"),
    **{op.lower(): _plain(op) for op in FUNCTIONS},
}


def random_model(rng: np.random.Generator):
    """(ONNX model, names of its parts, input shape)."""
    d = Draft(rng)
    names = []
    for _ in range(int(rng.integers(1, 8))):
        names.append(str(rng.choice(list(PARTS))))
        PARTS[names[-1]](d)
    return d.model(), names, d.input_shape


def outputs(model: bytes, points: np.ndarray) -> np.ndarray:
    """Of onnxruntime: (runs, flat outputs), rewritten and not, in a batch and alone."""
    found = []
    for level in LEVELS:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        found.append(session.run(None, {"x": points})[0].reshape(len(points), -1))
        found += [session.run(None, {"x": p[None]})[0].reshape(1, -1) for p in points[:SINGLE_RUNS]]
    return np.concatenate(found)


def check(seed: int, number: int, count: int, tally: Tally) -> None:
    """One network and one box."""
    rng = np.random.default_rng((seed, number))
    model, names, shape = random_model(rng)
    size = float(10.0 ** rng.uniform(*((-1, 1) if rng.random() < 0.6 else (-30, 30))))
    center = rng.standard_normal(shape) * size
    half = np.abs(center) * 10.0 ** rng.uniform(-7, 0) * (rng.random() < 0.8)
    low, high = (np.asarray(v, dtype=np.float32) for v in (center - half, center + half))
    share = rng.random((count, *shape))
    share = np.where(rng.random(share.shape) < 0.3, np.round(share), share)
    points = np.clip((low + share * (high - low)).astype(np.float32), low, high)
    tally.networks += 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.onnx"
        onnx.save(model, path)
        try:
            opened = load_onnx(path)
            net = bound_network(opened, opened.example(), batched=opened.batched)
        except CutawayError as error:
            tally.refused[str(error)[:90]] += 1
            return
    region = box(*(torch.tensor(v, dtype=torch.float64).reshape(1, -1) for v in (low, high)))
    limits = sweep(net, region)
    radius = deployment_radius(net, limits).flatten().numpy()
    last = net.graph.output.index
    lower, upper = (v[last].flatten().numpy() for v in (limits.lower, limits.upper))
    known = np.isfinite(radius) & np.isfinite(lower) & np.isfinite(upper)
    tally.operators.update(set(names))
    tally.intervals += known.size
    tally.finite += int(known.sum())
    value = outputs(model.SerializeToString(), points).astype(np.float64)
    tally.evaluations += len(value)
    inside = (lower - radius <= value) & (value <= upper + radius)
    wrong = known & ~inside.all(0)
    if wrong.any():
        command = f"python benchmarks/fuzz_deployment.py --seed {seed} --first {number} --networks 1"
        tally.broken.append(f"{int(wrong.sum())} of {wrong.size} outputs; {'+'.join(names)}; {command}")
        print("BROKEN", tally.broken[-1], file=sys.stderr, flush=True)


def fuzz(*, seed: int, first: int, networks: int, points: int) -> Tally:
    """Networks `first` to `first + networks - 1` of a seed."""
    tally = Tally()
    for number in range(first, first + networks):
        check(seed, number, points, tally)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("networks", 300), ("points", 1000), ("seed", 0), ("first", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    tally = fuzz(seed=given.seed, first=given.first, networks=given.networks, points=given.points)
    if given.json:
        print(json.dumps({name: getattr(tally, name) for name in Tally.__slots__}))
    else:
        print(f"{tally.networks} networks, {tally.evaluations} evaluations of {tally.intervals} intervals")
        print(f"{tally.finite} intervals are finite; {sum(tally.refused.values())} networks refused")
        for reason, count in tally.refused.most_common(5):
            print(f"  refused {count}: {reason}")
        print(f"{len(tally.broken)} networks left their certified interval")
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
