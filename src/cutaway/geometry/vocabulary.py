"""Which operators of the graph a slice knows, as `facts` tells, and what is said of the others."""

from __future__ import annotations

from cutaway.errors import NotPiecewiseAffine
from cutaway.network.graph import Graph, Node
from cutaway.network.graph.fact import Form
from cutaway.network.graph.facts import known, of
from cutaway.network.graph.operators import AFFINE_OPERATORS, OPERATORS

AFFINE = AFFINE_OPERATORS | {"input", "constant"}
GATES = frozenset(op for op in OPERATORS if of(op).gate == "zero")
KINKS = frozenset(op for op in OPERATORS if of(op).form is Form.PIECEWISE and of(op).gate)
RELU_LIKE = GATES & KINKS
PAIRED = frozenset(op for op in KINKS if of(op).gate == "pair")
WINDOWED = frozenset(op for op in KINKS if of(op).gate == "window")


def gated_nodes(graph: Graph) -> list[Node]:
    """The gated nonlinearities, piecewise affine or smooth, with x * sigmoid(x) spelled out among them."""
    return [node for node in graph.nodes if node.op in GATES or _is_silu(graph, node)]


def _is_silu(graph: Graph, node: Node) -> bool:
    if node.op != "mul":
        return False
    pairs = (node.inputs, node.inputs[::-1])
    return any(graph.nodes[b].op == "sigmoid" and graph.nodes[b].inputs[0] == a for a, b in pairs)


def refuse(node: Node, graph: Graph) -> None:
    """Raise with what is true of the operator: it jumps, it is curved, or nothing is known of it here."""
    name = node.op if known(node.op) else (node.op.split(".") + [""])[1]
    fact = of(name)
    place, what = f"site {node.module or '(top)'!r}", f"operator {node.op!r} ({node.target})"
    if fact.form is Form.STEP or not fact.continuous or name == "where":
        raise NotPiecewiseAffine(
            place,
            found=f"{what}, which jumps",
            expected="a continuous network; in a slice also comparisons, signs and thresholds",
            remedy="cut the network before it, or take a function without a jump (ReLU, Softshrink)",
        )
    if fact.form is not Form.CURVED and name not in OPERATORS:
        raise NotPiecewiseAffine(
            place,
            found=f"operator {name!r} ({node.target or node.op}) is not supported",
            expected="operators of the graph's vocabulary (cutaway.network.graph)",
            remedy="write it with supported operators, or cut the network before it",
        )
    raise NotPiecewiseAffine(
        place, found=what, expected="piecewise-affine operators only", remedy=_instead(node, graph)
    )


def _instead(node: Node, graph: Graph) -> str:
    if node.op in ("softmax", "log_softmax") and node.index == graph.output.index:
        return "leave the softmax off: the class is the arg-max of the logits without it"
    if gated_nodes(graph) and all(n.op in OPERATORS or n.op == "input" for n in graph.nodes):
        return "ask for the sign partition of its gates instead (sign_partition, or --gates on the command line)"
    return (
        "it is curved, so the network is not affine on pieces, and it has no gates whose signs could be drawn instead"
    )
