# Written by tools/write_stubs.py from __init__.py.

from cutaway.robustness.verify.instances import run_instances as run_instances
from cutaway.robustness.verify.onnx_query import open_onnx as open_onnx
from cutaway.robustness.verify.onnx_query import verify_vnnlib as verify_vnnlib
from cutaway.robustness.verify.replay import module_replay as module_replay
from cutaway.robustness.verify.replay import onnx_replay as onnx_replay
from cutaway.robustness.verify.verdict import Verdict as Verdict
from cutaway.robustness.verify.verdict import VerifySettings as VerifySettings
from cutaway.robustness.verify.verdict import verify as verify

__all__ = [
    "Verdict",
    "VerifySettings",
    "module_replay",
    "onnx_replay",
    "open_onnx",
    "run_instances",
    "verify",
    "verify_vnnlib",
]
