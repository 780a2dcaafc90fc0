"""ONNX files as `nn.Module`s: our own importer for feed-forward, convolutional and residual networks (extra `onnx`).

`importer.py` goes through the graph, `layers.py` and `torch_layers.py` turn one node into one torch layer,
`functions.py` holds the operators that torch has not as layers, `nodes.py` what they all work with.
"""

from cutaway.network.onnx.importer import load_onnx
from cutaway.network.onnx.model import OnnxModel

__all__ = ["OnnxModel", "load_onnx"]
