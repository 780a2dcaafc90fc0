"""What elementwise functions lose in float32, beside the limits that their records in `network/graph/facts.py` give.

    python benchmarks/float32_functions.py [--points 400000] [--seed 0] [--json]

Every function whose record gives such a limit (`Curve.float32`) is computed in float32 by torch and by onnxruntime,
in one batch and (some points) alone, at random float32 numbers: half of them uniform on [-20, 20], half of any size
from 1e-38 to 1e38 and either sign. The error is against torch in float64 at the same numbers. Printed: the largest
error in units u = 2^-24 of |f(x)| (plus 4 smallest normal numbers), where it lies, and the largest share of its limit
(`own_error`, plus as much) that was used. A share above 1, or such a word without a function here, is exit code 1.
Where the float64 value passes the largest float32 number nothing is compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from cutaway.network.graph import Node, facts
from cutaway.network.graph.operators import apply_node
from cutaway.robustness.bounds.rounding import own_error

UNIT, TINY, LARGEST = 2.0**-24, torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max
ALONE = 100
WORDS = {word for word, curve in facts.CURVES.items() if curve.float32 is not None}


@dataclass(frozen=True, slots=True)
class Function:
    """A word with its parameters, and the ONNX nodes that compute it: (operator, inputs, attributes), of
    `x`, the value before `_` and `constants`."""

    word: str
    nodes: tuple[tuple[str, str, dict[str, Any]], ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    constants: dict[str, float] = field(default_factory=dict)
    positive: bool = False

    @property
    def node(self) -> Node:
        slope = {"slope": torch.tensor(self.attributes["slope"]).double()} if "slope" in self.attributes else {}
        return Node(index=1, op=self.word, attributes=self.attributes, constants=slope)

    @property
    def name(self) -> str:
        return " ".join([self.word, *(str(v) for v in self.attributes.values())])


def _plain(word: str, op: str, positive: bool = False, **attributes: Any) -> Function:
    return Function(word, ((op, "x", attributes),), positive=positive)


def _elu(op: str, alpha: float, scale: float = 1.0, input_scale: float = 1.0, given: Any = None) -> Function:
    attributes = {"alpha": alpha, "scale": scale, "input_scale": input_scale}
    return Function("elu", ((op, "x", given or {}),), attributes)


def _power(exponent: float) -> Function:
    exponent = float(np.float32(exponent))
    whole = exponent.is_integer()
    return Function("power", (("Pow", "x p", {}),), {"exponent": exponent}, {"p": exponent}, positive=not whole)


SELU_ALPHA, SELU_SCALE = float(np.float32(1.6732632)), float(np.float32(1.0507010))
SAME = ("relu", "abs", "floor", "ceil", "round", "sign", "exp", "erf", "tanh", "atan", "sin", "cos", "sigmoid")
SAME += ("softsign", "mish", "reciprocal")  # ONNX has these under the same name
FUNCTIONS = [
    *(_plain(word, word.title()) for word in SAME),
    *(_plain(word, word.title(), positive=True) for word in ("sqrt", "log")),
    _plain("hardswish", "HardSwish"),
    Function("clamp", (("Clip", "x a b", {}),), {"min": -0.75, "max": 1.25}, {"a": -0.75, "b": 1.25}),
    Function("threshold", (("ThresholdedRelu", "x", {"alpha": 0.5}),), {"threshold": 0.5, "value": 0.0}),
    Function("square", (("Mul", "x x", {}),)),
    Function("leaky_relu", (("LeakyRelu", "x", {"alpha": 0.375}),), {"slope": 0.375}),
    Function("rsqrt", (("Sqrt", "x", {}), ("Reciprocal", "_", {})), positive=True),
    Function("softplus", (("Softplus", "x", {}),), {"beta": 1.0}),
    _elu("Elu", 1.0),
    _elu("Elu", 2.5, given={"alpha": 2.5}),
    _elu("Selu", SELU_ALPHA, SELU_SCALE),
    _elu("Celu", 0.5, input_scale=2.0, given={"alpha": 0.5}),
    Function("silu", (("Sigmoid", "x", {}), ("Mul", "_ x", {}))),
    Function("gelu", (("Gelu", "x", {"approximate": "none"}),), {"approximate": "none"}),
    Function("gelu", (("Gelu", "x", {"approximate": "tanh"}),), {"approximate": "tanh"}),
    *(_power(p) for p in (3.0, 0.75, -1.3, 2.5, -2.0)),
]


def in_onnxruntime(function: Function) -> Callable[[Tensor], Tensor]:
    nodes, last = [], "x"
    for k, (op, inputs, attributes) in enumerate(function.nodes):
        given = [last if name == "_" else name for name in inputs.split()]
        last = f"v{k}"
        nodes.append(helper.make_node(op, given, [last], **attributes))
    constants = [numpy_helper.from_array(np.float32(v), k) for k, v in function.constants.items()]
    take = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])]
    give = [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["N"])]
    graph = helper.make_graph(nodes, "function", take, give, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def points(count: int, seed: int, positive: bool) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    near = 40 * torch.rand(count // 2, generator=generator, dtype=torch.float64) - 20
    size = 10.0 ** (76 * torch.rand(count // 2, generator=generator, dtype=torch.float64) - 38)
    sign = torch.randint(0, 2, (count // 2,), generator=generator) * 2 - 1
    x = torch.cat([near, size * sign]).float()
    return x.abs().clamp(min=TINY) if positive else x


def measured(function: Function, count: int, seed: int) -> dict[str, dict[str, float]]:
    """By program: `units` of the largest relative error, `at` which argument, `share` of the limit at most used."""
    x = points(count, seed, function.positive)
    real = apply_node(function.node, [x.double()])
    limit = UNIT * own_error(function.node, x.double().abs(), real.abs()) + 4 * TINY
    known = torch.isfinite(real) & (real.abs() < LARGEST)
    single = Node(index=1, op=function.word, attributes=function.attributes, constants=_float(function.node.constants))
    found = {}
    for name, run in (("torch", lambda v: apply_node(single, [v])), ("onnxruntime", in_onnxruntime(function))):
        alone = torch.cat([run(v) for v in x[:: max(1, count // ALONE)].split(1)])
        value = torch.cat([run(x), alone]).double()
        error = (value - torch.cat([real, real[:: max(1, count // ALONE)]])).abs()
        mask, most, size = (torch.cat([v, v[:: max(1, count // ALONE)]]) for v in (known, limit, real.abs()))
        error = torch.where(mask, error, 0.0).nan_to_num(torch.inf)
        units = error / (UNIT * size + 4 * TINY)
        place = int(units.argmax())
        at = float(torch.cat([x, x[:: max(1, count // ALONE)]])[place])
        found[name] = {"units": float(units[place]), "at": at, "share": float((error / most).max())}
    return found


def _float(constants: Any) -> dict[str, Tensor]:
    return {k: v.float() for k, v in constants.items()}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=400_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    table = {f.name: measured(f, given.points, given.seed) for f in FUNCTIONS}
    worst = max(row["share"] for rows in table.values() for row in rows.values())
    if given.json:
        print(json.dumps(table))
    else:
        print(f"{'function':<48}{'program':<13}{'units':>10}{'at':>12}{'share':>8}")
        for name, rows in table.items():
            for program, row in rows.items():
                print(f"{name:<48}{program:<13}{row['units']:>10.3g}{row['at']:>12.4g}{row['share']:>8.2f}")
        print(f"{len(table)} functions of {len(WORDS)} words; the largest share of a limit is {worst:.3g}")
    return 1 if worst > 1 or {f.word for f in FUNCTIONS} != WORDS else 0


if __name__ == "__main__":
    sys.exit(main())
