# Written by tools/write_stubs.py from __init__.py.

from cutaway.guard.evaluation import Evaluation as Evaluation
from cutaway.guard.evaluation import evaluate_guardrail as evaluate_guardrail
from cutaway.guard.folder import load_guardrail as load_guardrail
from cutaway.guard.folder import save_guardrail as save_guardrail
from cutaway.guard.guardrail import Guardrail as Guardrail
from cutaway.guard.guardrail import PromptVerdict as PromptVerdict
from cutaway.guard.rows import PromptRows as PromptRows
from cutaway.guard.rows import from_lists as from_lists
from cutaway.guard.rows import read_rows as read_rows
from cutaway.guard.threshold import Threshold as Threshold
from cutaway.guard.threshold import calibrate as calibrate

__all__ = [
    "Evaluation",
    "Guardrail",
    "PromptRows",
    "PromptVerdict",
    "Threshold",
    "calibrate",
    "evaluate_guardrail",
    "from_lists",
    "load_guardrail",
    "read_rows",
    "save_guardrail",
]
