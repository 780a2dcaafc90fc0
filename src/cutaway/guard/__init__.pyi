# Written by tools/write_stubs.py from __init__.py.

from cutaway.guard.evaluation import Evaluation as Evaluation
from cutaway.guard.evaluation import evaluate as evaluate
from cutaway.guard.folder import load as load
from cutaway.guard.folder import save as save
from cutaway.guard.guardrail import Guardrail as Guardrail
from cutaway.guard.guardrail import Verdict as Verdict
from cutaway.guard.rows import PromptRows as PromptRows
from cutaway.guard.rows import from_lists as from_lists
from cutaway.guard.rows import read_rows as read_rows
from cutaway.guard.threshold import Threshold as Threshold
from cutaway.guard.threshold import calibrate as calibrate

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
