"""Where work runs and how much memory it may take: executors, budgets, progress."""

from cutaway.engines.budget import chunk_size, default_budget, parse_budget
from cutaway.engines.executor import ENGINES, Executor, get_executor
from cutaway.engines.jobs import map_jobs
from cutaway.engines.progress import progress_bar, progress_lines

__all__ = [
    "ENGINES",
    "Executor",
    "chunk_size",
    "default_budget",
    "get_executor",
    "map_jobs",
    "parse_budget",
    "progress_bar",
    "progress_lines",
]
