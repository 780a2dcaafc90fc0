"""Streams of random numbers that are independent by construction, and the seeds that a user may give.

Every place that draws names itself: `generator(seed, "attack", "pgd", row)`. A stream is
`SeedSequence(SHA-256 of (seed, path))`, so two streams coincide only where seed and path do.
"""

from __future__ import annotations

import hashlib
import operator
from typing import TYPE_CHECKING

from cutaway.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import torch

LARGEST_SEED = 2**32 - 1


def check_seed(seed: int) -> int:
    """The seed as a Python number (NumPy's and torch's are taken). Raises `InputError` unless 0 <= seed < 2^32."""
    try:
        number = operator.index(seed)
    except TypeError as error:
        raise InputError(
            "seed",
            found=repr(seed),
            expected=f"a whole number, 0 to {LARGEST_SEED}",
            remedy="give a seed in that range",
        ) from error
    if not 0 <= number <= LARGEST_SEED:
        raise InputError("seed", found=str(number), expected=f"0 to {LARGEST_SEED}", remedy="give a seed in that range")
    return number


def stream(seed: int, *path: int | str) -> np.random.SeedSequence:
    """The source of the stream at `path` (words and whole numbers) under `seed`; `np.random.default_rng` takes it.

    >>> stream(3, "noise").entropy == stream(3, "noise").entropy, stream(3, "noise").entropy == stream(3, "x").entropy
    (True, False)
    """
    import numpy as np

    words = [operator.index(seed), *(part if isinstance(part, str) else operator.index(part) for part in path)]
    return np.random.SeedSequence(int.from_bytes(hashlib.sha256(repr(words).encode()).digest()))


def number(seed: int, *path: int | str) -> int:
    """A seed below 2^63 drawn from the stream, for what takes one number."""
    import numpy as np

    return int(stream(seed, *path).generate_state(1, np.uint64)[0] >> 1)


def generator(seed: int, *path: int | str) -> torch.Generator:
    """torch's CPU generator on the stream. Its whole state is drawn: `manual_seed` would keep 32 bits only."""
    from cutaway._compat import mersenne_generator

    return mersenne_generator(stream(seed, *path).generate_state(624))
