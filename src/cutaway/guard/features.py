"""Prompts to feature rows: the geometry of a language model's MLP blocks, its mean hidden state, or both.

`geometry`: 7 L numbers (see `cutaway.language.geometry`); `hidden`: D numbers, the mean over tokens of the last hidden
state, or of block k's input when only k blocks are used; `both`: the two side by side. One forward pass a window: a
prompt that is longer than the model reads has several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from cutaway.errors import InputError
from cutaway.guard.prompts import PromptTokenizer
from cutaway.language.geometry import GeometryReader, language_geometry

Kind = Literal["geometry", "hidden", "both"]
KINDS: tuple[Kind, ...] = ("geometry", "hidden", "both")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureRows:
    """`values` (w, p) float64, a row a window, prompt after prompt; `windows` (n,) how many each
    prompt has; `tokens` (n,)."""

    values: np.ndarray
    windows: np.ndarray
    tokens: np.ndarray

    @property
    def truncated(self) -> np.ndarray:
        """(n,) booleans: longer than one window."""
        return self.windows > 1

    @property
    def first(self) -> np.ndarray:
        """(n,) row of each prompt's first window."""
        return np.cumsum(self.windows) - self.windows

    def worst(self, logits: np.ndarray) -> np.ndarray:
        """(n,) row of each prompt's window with the highest of `logits` (w,), the first of equals."""
        return np.array([a + int(np.argmax(logits[a : a + k])) for a, k in zip(self.first, self.windows, strict=True)])

    def notes(self) -> tuple[str, ...]:
        """A sentence where prompts were longer than one window."""
        long = int(self.truncated.sum())
        count = f"{long} of {len(self.windows)} prompts"
        return (f"{count} are longer than the model reads: the worst of their windows counts",) if long else ()


class PromptFeatures:
    """Features of one model with its tokenizer; stateless between calls, results do not depend on the batch size
    beyond rounding."""

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        *,
        kind: str = "both",
        layers: int | None = None,
        batch_size: int = 32,
        max_length: int | None = None,
        plain: bool = True,
    ) -> None:
        if kind not in KINDS:
            raise InputError(
                "features", found=repr(kind), expected="one of " + ", ".join(KINDS), remedy="give one of these"
            )
        self.tokenizer = PromptTokenizer(tokenizer, model, max_length=max_length, plain=plain)
        example = torch.tensor([self.tokenizer.encode(["Once upon a time there was a little girl."]).rows[0]])
        device = next(model.parameters()).device
        self.reader = GeometryReader(model, example.to(device))
        self.kind, self.layers, self.batch_size = kind, layers, batch_size
        self._width = len(self(["probe"]).values[0])

    @property
    def dimension(self) -> int:
        """Number of features p."""
        return self._width

    def __call__(self, texts: Sequence[str]) -> FeatureRows:
        """Feature rows of the windows of the prompts, in order."""
        encoded = self.tokenizer.encode(texts)
        got = language_geometry(self.reader, encoded.rows, batch_size=self.batch_size, layers=self.layers)
        parts = {"geometry": got.pooled.flatten(1), "hidden": got.hidden}
        chosen = [parts[k] for k in (("geometry", "hidden") if self.kind == "both" else (self.kind,))]
        return FeatureRows(
            values=torch.cat(chosen, dim=1).double().numpy(),
            windows=np.array(encoded.windows),
            tokens=np.array(encoded.lengths),
        )
