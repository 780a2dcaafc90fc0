"""Reports: charts, words and the self-contained page of a run."""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "compare_page": "write_comparison",
        "page": "write_report",
        "training_page": "write_training_page",
    },
)
