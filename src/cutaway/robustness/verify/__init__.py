"""From a question about a network to a verdict: attack, bounds, branch and bound, replay."""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "instances": "run_instances",
        "onnx_query": "open_onnx verify_vnnlib",
        "replay": "module_replay onnx_replay",
        "verdict": "Verdict VerifySettings verify",
    },
)
