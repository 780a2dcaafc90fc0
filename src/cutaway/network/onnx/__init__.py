"""ONNX files as `nn.Module`s: our own importer for feed-forward, convolutional and residual networks (extra `onnx`).

`importer.py` goes through the graph, `layers.py` and `torch_layers.py` turn one node into one torch layer,
`functions.py` holds the operators that torch has not as layers, `nodes.py` what they all work with.
"""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "importer": "load_onnx",
        "model": "OnnxModel",
    },
)
