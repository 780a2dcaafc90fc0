# Written by tools/write_stubs.py from __init__.py.

from cutaway.network.onnx.importer import load_onnx as load_onnx
from cutaway.network.onnx.model import OnnxModel as OnnxModel

__all__ = [
    "OnnxModel",
    "load_onnx",
]
