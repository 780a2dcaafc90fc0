"""How many threads a network's passes are worth: one for small networks, where threads wait for each other longer than
they work, and many times longer when another process has a core.

Only ever fewer than there were, and only for the time of the work: a user's own setting is kept and put back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

WORTH = 3e7
"""Floating-point operations of one row's forward pass from which threads pay: between a small CNN on digits (about
1e6) and a ResNet-20 on 32 x 32 images (8e7)."""


@contextlib.contextmanager
def threads_for(flops: float) -> Iterator[None]:
    """One torch thread while a network of `flops` operations a row is at work, if that is below `WORTH`."""
    import torch

    before = torch.get_num_threads()
    if before == 1 or flops >= WORTH:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


ROWS = 4_000
"""Rows from which the square matrices of a kernel method are worth several threads."""


@contextlib.contextmanager
def threads_for_rows(rows: int, *, passes: bool = True) -> Iterator[None]:
    """One thread of BLAS and OpenMP while matrices of so many rows are at work, if that is below `ROWS`; of torch too
    where it `passes` them on (else torch, which takes seconds, is not imported)."""
    import threadpoolctl

    if rows >= ROWS:
        yield
        return
    with threadpoolctl.threadpool_limits(limits=1), threads_for(0.0) if passes else contextlib.nullcontext():
        yield
