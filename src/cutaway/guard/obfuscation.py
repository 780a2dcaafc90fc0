"""How many harmful prompts a guardrail still flags once they are disguised: a table, so that nobody ships blind.

Every disguise is one that needs no skill: a reader, or a language model that is asked to, undoes it. Which of them the
guardrail undoes is told in `normal`; the others are measured all the same.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cutaway.reading.intervals import proportion_interval

if TYPE_CHECKING:
    from cutaway.guard.guardrail import Guardrail

_LEET = str.maketrans("aeiostAEIOST", "431057431057")
_LOOKALIKES = str.maketrans("aeopcxiAEOPCXI", "аеорсхіАЕОРСХІ")
_WIDE = {code: code + 0xFEE0 for code in range(33, 127)} | {32: 0x3000}
_BENIGN = "The cat sat on the warm stone by the door and looked at the sea until the boats came home. "

OBFUSCATIONS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "spaced": " ".join,
    "leetspeak": lambda text: text.translate(_LEET),
    "fullwidth": lambda text: text.translate(_WIDE),
    "zero-width": "\u200b".join,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "homoglyph": lambda text: text.translate(_LOOKALIKES),
    "upper case": str.upper,
    "benign prefix": lambda text: 4 * _BENIGN + text,  # 80 words
    "long benign prefix": lambda text: 40 * _BENIGN + text,  # 800 words
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flagged:
    """`flagged` of `rows` harmful prompts; `share` with its Clopper-Pearson interval at 95 %. `harmless_share` of
    `harmless_rows` prompts in the same disguise: where it is as high, the disguise is flagged, not the harm."""

    rows: int
    flagged: int
    share: float
    low: float
    high: float
    harmless_share: float
    harmless_rows: int


def obfuscated(
    guard: Guardrail, harmful: Sequence[str], harmless: Sequence[str], *, most: int = 60, seed: int = 0
) -> dict[str, Flagged]:
    """Share flagged by obfuscation, "plain" first, on the same at most `most` prompts of either class, drawn with
    `seed`; empty without harmful ones. Costs ten passes over them at most, one of which is long: what
    normalisation undoes and what openings share is read once."""
    bad, good = _drawn(harmful, most, seed), _drawn(harmless, most, seed)
    if not bad:
        return {}
    found = guard.predict([disguise(text) for disguise in OBFUSCATIONS.values() for text in bad + good])
    parts = np.split(found, len(OBFUSCATIONS))
    return {name: _flagged(part, len(bad)) for name, part in zip(OBFUSCATIONS, parts, strict=True)}


def _drawn(texts: Sequence[str], most: int, seed: int) -> list[str]:
    keep: list[int] = sorted(np.random.default_rng(seed).permutation(len(texts))[:most].tolist())
    return [texts[i] for i in keep]


def _flagged(found: np.ndarray, harmful: int) -> Flagged:
    """Of predictions for `harmful` harmful prompts, then harmless ones."""
    hits, others = int(found[:harmful].sum()), found[harmful:]
    low, high = proportion_interval(hits, harmful)
    return Flagged(
        rows=harmful,
        flagged=hits,
        share=hits / harmful,
        low=low,
        high=high,
        harmless_share=float(others.mean()) if len(others) else float("nan"),
        harmless_rows=len(others),
    )
