"""What a kernel is made of and what came of it: finite rows of one shape in, finite numbers out, or an error that names
the offender."""

from __future__ import annotations

from typing import Any

import torch

from cutaway.errors import InputError


def checked_rows(what: str, rows: Any, like: torch.Tensor | None = None) -> torch.Tensor:
    """`rows` as a tensor (n, ...) with n of at least 1 and no number that is not finite, each of the shape of those of
    `like`.

    Exact. Cost: a look at every number. Raises `InputError` for what is none. Source: ours.
    """
    try:
        found = torch.as_tensor(rows)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(what, found=str(error), expected="a tensor or an array", remedy="give numbers") from error
    if found.dim() < 2 or not len(found):
        said = "none" if found.dim() and not len(found) else f"shape {tuple(found.shape)}"
        raise InputError(what, found=said, expected="at least one row, (n, ...)", remedy="give inputs (n, ...)")
    if like is not None and found.shape[1:] != like.shape[1:]:
        raise InputError(
            what,
            found=f"rows of shape {tuple(found.shape[1:])}",
            expected=f"rows of shape {tuple(like.shape[1:])}, as on the other side",
            remedy="give rows of one shape on both sides",
        )
    bad = ~torch.isfinite(found.detach()).flatten(1).all(dim=1)
    if bool(bad.any()):
        raise InputError(
            f"{what}, row {int(bad.nonzero()[0])}",
            found=f"NaN or infinity ({int(bad.sum())} of {len(found)} rows are not finite)",
            expected="finite inputs",
            remedy="drop or repair these rows",
        )
    return found


def checked_kernel(kernel: torch.Tensor, *, doubled: str = "") -> torch.Tensor:
    """`kernel`, whose numbers are finite.

    `doubled`: how to have it in float64, said where it is in another type. Exact. Cost: a look at every number. Raises
    `InputError` for one that left its type's range. Source: ours.
    """
    if bool(torch.isfinite(kernel.detach()).all()):
        return kernel
    kind = str(kernel.dtype).removeprefix("torch.")
    divide = "divide the inputs by a constant"
    raise InputError(
        "kernel",
        found=f"numbers that {kind} does not hold: they grow with the square of inputs and weights",
        expected=f"numbers up to {torch.finfo(kernel.dtype).max:.0e}",
        remedy=f"{doubled}, or {divide}" if doubled and kernel.dtype != torch.float64 else divide,
    )
