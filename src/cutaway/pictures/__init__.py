"""Marks and drawing that instruments, reports and rooms share."""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "charts": (
            "Measured bars_chart collapse_chart distances_chart figures_chart finished reliability_chart sites_chart"
        ),
    },
)
