# Written by tools/write_stubs.py from __init__.py.

from cutaway.engines.base import Executor as Executor
from cutaway.engines.budget import chunk_size as chunk_size
from cutaway.engines.budget import default_budget as default_budget
from cutaway.engines.budget import parse_budget as parse_budget
from cutaway.engines.executor import ENGINES as ENGINES
from cutaway.engines.executor import get_executor as get_executor
from cutaway.engines.jobs import map_jobs as map_jobs
from cutaway.engines.parts import in_draws as in_draws
from cutaway.engines.parts import in_parts as in_parts
from cutaway.engines.parts import working_on as working_on
from cutaway.engines.progress import progress_bar as progress_bar
from cutaway.engines.progress import progress_lines as progress_lines

__all__ = [
    "ENGINES",
    "Executor",
    "chunk_size",
    "default_budget",
    "get_executor",
    "in_draws",
    "in_parts",
    "map_jobs",
    "parse_budget",
    "progress_bar",
    "progress_lines",
    "working_on",
]
