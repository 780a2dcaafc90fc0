"""Guardrails on language models: features, detector, calibrated threshold, certificates, service."""

from cutaway.guard.evaluate import Evaluation, evaluate
from cutaway.guard.folder import load, save
from cutaway.guard.guardrail import Guardrail, Verdict
from cutaway.guard.rows import PromptRows, from_lists, read_rows
from cutaway.guard.threshold import Threshold, calibrate

__all__ = [
    "Evaluation",
    "Guardrail",
    "PromptRows",
    "Threshold",
    "Verdict",
    "calibrate",
    "evaluate",
    "from_lists",
    "load",
    "read_rows",
    "save",
]
