# Written by tools/write_stubs.py from __init__.py.

from cutaway.network.graph.evaluation import evaluate as evaluate
from cutaway.network.graph.evaluation import output_of as output_of
from cutaway.network.graph.node import Graph as Graph
from cutaway.network.graph.node import Node as Node
from cutaway.network.graph.tracing import trace as trace

__all__ = [
    "Graph",
    "Node",
    "evaluate",
    "output_of",
    "trace",
]
