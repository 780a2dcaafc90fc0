"""Guardrails on language models: features, detector, calibrated threshold, certificates, service."""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "evaluation": "Evaluation evaluate_guardrail",
        "folder": "load_guardrail save_guardrail",
        "guardrail": "Guardrail PromptVerdict",
        "rows": "PromptRows from_lists read_rows",
        "threshold": "Threshold calibrate",
    },
)
