"""Executors by name: inline, loky (the cores of this machine), auto (which of these pays), dask, submitit (SLURM).

`get_executor("loky", workers=2)` gives an `Executor`; `map_jobs` (jobs.py) does the work with it. Every job outside
this process runs with its BLAS and torch threads capped, so that workers do not fight for the cores. Arguments shared
by all jobs travel once: through a file that each worker reads once, or scattered over the Dask workers.
"""

from __future__ import annotations

from cutaway.engines.base import Executor
from cutaway.engines.jobs import map_jobs
from cutaway.engines.local import InlineExecutor, LokyExecutor
from cutaway.errors import InputError, did_you_mean

__all__ = ["ENGINES", "Executor", "get_executor", "map_jobs"]

ENGINES = ("auto", "inline", "loky", "dask", "submitit")
"""What `--engine` takes."""


def get_executor(
    name: str = "inline", workers: int | None = None, address: str | None = None, *, expected: int | None = None
) -> Executor:
    """The executor called `name`.

    expected: how many jobs will come, where known (auto). workers: processes (auto, loky, a local Dask cluster) or
    jobs at a time (submitit); None: one for each core, with auto each that is free. address: of a Dask scheduler
    (tcp://host:port, or a scheduler file), or of submitit's cluster ("slurm", "local"). Raises InputError for an
    unknown name or an address nobody answers, MissingExtra.
    """
    if workers is not None and workers < 1:
        raise InputError(
            "option --workers", found=str(workers), expected="1 or more", remedy="give a whole number of at least 1"
        )
    if address is not None and name in ("auto", "inline", "loky"):
        raise InputError(
            "option --address",
            found=f"engine {name!r}, which has none",
            expected="--engine dask or submitit",
            remedy="leave --address out, or choose such an engine",
        )
    if name == "inline":
        return InlineExecutor()
    if name == "auto":
        from cutaway.engines.auto import AutoExecutor

        return AutoExecutor(workers, expected)
    if name == "loky":
        return LokyExecutor(workers)
    if name == "dask":
        from cutaway.engines.dask_executor import DaskExecutor

        return DaskExecutor(workers, address)
    if name == "submitit":
        from cutaway.engines.submitit_executor import SubmititExecutor

        return SubmititExecutor(workers, address)
    raise InputError(f"engine {name!r}", expected=", ".join(ENGINES), remedy=did_you_mean(name, ENGINES))
