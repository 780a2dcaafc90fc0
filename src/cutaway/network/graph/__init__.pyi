# Written by tools/write_stubs.py from __init__.py.

from cutaway.network.graph.evaluation import evaluate_graph as evaluate_graph
from cutaway.network.graph.evaluation import output_of as output_of
from cutaway.network.graph.node import Graph as Graph
from cutaway.network.graph.node import Node as Node
from cutaway.network.graph.tracing import trace as trace

__all__ = [
    "Graph",
    "Node",
    "evaluate_graph",
    "output_of",
    "trace",
]
