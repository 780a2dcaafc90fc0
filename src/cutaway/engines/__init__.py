"""Where work runs and how much memory it may take: executors, budgets, progress."""

from cutaway import _facade

__all__, __getattr__, __dir__ = _facade.front(
    __name__,
    {
        "base": "Executor",
        "budget": "chunk_size default_budget parse_budget",
        "executor": "ENGINES get_executor",
        "jobs": "map_jobs",
        "parts": "in_draws in_parts working_on",
        "progress": "progress_bar progress_lines",
    },
)
