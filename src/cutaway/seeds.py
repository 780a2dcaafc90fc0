"""The seeds that numpy's and torch's generators both take."""

from __future__ import annotations

from cutaway.errors import InputError

LARGEST_SEED = 2**32 - 1


def check_seed(seed: int) -> None:
    """Raises `InputError` unless 0 <= seed < 2^32."""
    if not 0 <= seed <= LARGEST_SEED:
        raise InputError("seed", found=str(seed), expected=f"0 to {LARGEST_SEED}")
