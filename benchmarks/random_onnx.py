"""Random ONNX models of every operator that the importer knows, with all its attributes, opsets 7 to 23.

`random_model(rng, wanted)` begins with data of random shape and applies one to three operators, the first of which is
`wanted` where that fits. What an operator of an opset cannot be is drawn too: onnxruntime refuses such a model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_draws as draws
from onnx import TensorProto
from onnx_draft import Draft, Unfit

OPSETS = range(7, 24)
FIRST = {  # the first opset of an operator, where it is above 7
    **dict.fromkeys(("Erf", "Sign", "Where", "ConstantOfShape"), 9),
    **dict.fromkeys(("Range", "Equal"), 11),
    **dict.fromkeys(("Celu", "Einsum", "GreaterOrEqual", "LessOrEqual"), 12),
    **dict.fromkeys(("GroupNormalization", "Mish"), 18),
    **{"DequantizeLinear": 10, "ThresholdedRelu": 10, "Round": 11, "RMSNormalization": 23},
    **{"Mod": 10, "HardSwish": 14, "LayerNormalization": 17, "Gelu": 20},
}


DRAWS: dict[str, draws.Draw] = {
    **dict.fromkeys(
        [
            "Relu",
            "LeakyRelu",
            "Sigmoid",
            "Tanh",
            "Elu",
            "Celu",
            "Selu",
            "Softplus",
            "HardSwish",
            "Mish",
            "Gelu",
            "Identity",
        ],
        draws.unary,
    ),
    **dict.fromkeys(
        ["Neg", "Abs", "Exp", "Log", "Sqrt", "Reciprocal", "Erf", "Sin", "Cos", "Floor", "Ceil", "Sign", "Softsign"],
        draws.unary,
    ),
    **dict.fromkeys(["HardSigmoid", "Dropout", "Round", "Atan", "ThresholdedRelu"], draws.unary),
    **dict.fromkeys(["Add", "Sub", "Mul", "Div", "Mod", "Pow", "Max", "Min", "Sum", "Mean"], draws.binary),
    **dict.fromkeys(["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"], draws.comparison),
    **dict.fromkeys(["And", "Or", "Not", "Where"], draws.logical),
    **dict.fromkeys(["Softmax", "LogSoftmax"], draws.softmax),
    **dict.fromkeys(["Squeeze", "Unsqueeze"], draws.squeeze),
    **dict.fromkeys(["Expand", "Tile"], draws.expand),
    **dict.fromkeys(["Shape", "Size", "ConstantOfShape", "Range"], draws.shape_arithmetic),
    **dict.fromkeys(["ArgMax", "ArgMin"], draws.argument),
    **dict.fromkeys(["Conv", "ConvTranspose"], draws.convolution),
    **dict.fromkeys(["MaxPool", "AveragePool"], draws.pool),
    **dict.fromkeys(["GlobalAveragePool", "GlobalMaxPool"], draws.global_pool),
    **dict.fromkeys(["BatchNormalization", "LayerNormalization"], draws.normalisation),
    **dict.fromkeys(["GroupNormalization", "InstanceNormalization"], draws.group_normalisation),
    "RMSNormalization": draws.root_mean_square,
    "LRN": draws.local_normalisation,
    **{f"Reduce{name}": draws.reduce for name in ["Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "SumSquare"]},
    "Clip": draws.clip,
    "PRelu": draws.prelu,
    "Reshape": draws.reshape,
    "Flatten": draws.flatten,
    "Transpose": draws.transpose,
    "Concat": draws.concat,
    "Slice": draws.slicing,
    "Gather": draws.gather,
    "Pad": draws.pad,
    "Split": draws.split,
    "Constant": draws.constant,
    "Cast": draws.cast,
    "DequantizeLinear": draws.dequantise,
    "MatMul": draws.matmul,
    "Gemm": draws.gemm,
    "Einsum": draws.einsum,
}
SPATIAL = (draws.convolution, draws.pool, draws.global_pool, draws.group_normalisation, draws.local_normalisation)
"""Draws of data with channels and at least one dimension beside."""


def random_model(rng: np.random.Generator, wanted: str) -> tuple[Any, list[str]]:
    """A model and the operators that were asked for; Unfit where `wanted` fits nothing here."""
    opset = int(rng.integers(max(OPSETS.start, FIRST.get(wanted, 0)), OPSETS.stop))
    rank = int(rng.integers(3, 6) if DRAWS[wanted] in SPATIAL else rng.integers(1, 6))
    head = 1 if rng.random() < 0.9 or rank == 1 else 2
    most = 8 if rank < 5 else 4
    draft = Draft(rng, opset, (head, *(int(s) for s in rng.integers(1, most, size=rank - 1))))
    names = [wanted, *(str(n) for n in rng.choice(sorted(DRAWS), size=int(rng.integers(0, 3))))]
    done = []
    for k, name in enumerate(names):
        if FIRST.get(name, 0) > opset:
            continue
        before = len(draft.nodes)
        try:
            draft.take(DRAWS[name](draft, name))
            done.append(name)
            if k + 1 < len(names):
                draft.take(draft.node("Cast", draft.value, to=TensorProto.FLOAT))
        except (Unfit, onnx.shape_inference.InferenceError, IndexError, ValueError) as error:
            del draft.nodes[before:]
            if k == 0:
                raise Unfit from error
    return draft.model(None if head == 1 and rng.random() < 0.3 else head), done
