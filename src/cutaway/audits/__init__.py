"""Audits of tables: what may be made of labels, answers, tunings and generations, without a network at hand."""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "answers": "AnswerAudit",
        "generations": "GenerationAudit",
        "labels": "LabelAudit",
        "tuning": "TuningAudit",
        "table_audit": "TableAudit",
    },
)
