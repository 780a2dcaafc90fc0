"""Prompts to feature rows: a sentence vector, the geometry of a language model's MLP blocks, its mean hidden state, or
the last two.

`geometry`: 7 L numbers (see `cutaway.language.geometry`); `hidden`: D numbers, the mean over tokens of the last hidden
state, or of block k's input when only k blocks are used; `both`: the two side by side; `sentence`:
D numbers, the pooled last hidden state at length 1 (see `cutaway.language.sentences`), for which sentence encoders are
trained. One forward pass a window: a prompt that is longer than the model reads has several. Windows of the same
tokens are read once.
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
from cutaway.language.sentences import SentenceReader, sentence_vectors

FeatureKind = Literal["sentence", "geometry", "hidden", "both"]
FEATURE_KINDS: tuple[FeatureKind, ...] = ("sentence", "geometry", "hidden", "both")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureRows:
    """`values` (w, p) float64, a row a window, prompt after prompt; `windows` (n,) how many each prompt has, those of a
    second reading among them; `tokens` (n,); `truncated` (n,) booleans, longer than one window."""

    values: np.ndarray
    windows: np.ndarray
    tokens: np.ndarray
    truncated: np.ndarray

    @property
    def first(self) -> np.ndarray:
        """(n,) row of each prompt's first window."""
        return np.cumsum(self.windows) - self.windows

    def worst(self, logits: np.ndarray) -> np.ndarray:
        """(n,) row of each prompt's window with the highest of `logits` (w,), the first of equals."""
        if len(logits) == len(self.windows):
            return np.arange(len(logits))
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
        pooling: str = "mean",
    ) -> None:
        if kind not in FEATURE_KINDS:
            raise InputError(
                "features", found=repr(kind), expected="one of " + ", ".join(FEATURE_KINDS), remedy="give one of these"
            )
        self.tokenizer = PromptTokenizer(tokenizer, model, max_length=max_length, plain=plain)
        example = torch.tensor([self.tokenizer.encode(["Once upon a time there was a little girl."]).rows[0]])
        device = next(model.parameters()).device
        self.kind, self.layers, self.batch_size = kind, layers, batch_size
        if kind == "sentence":
            self.reader = SentenceReader(model, example.to(device), pooling=pooling)
            self._all_layers(layers)
        else:
            self.reader = GeometryReader(model, example.to(device))
        self._width = len(self(["probe"]).values[0])

    @property
    def dimension(self) -> int:
        """Number of features p."""
        return self._width

    def __call__(self, texts: Sequence[str]) -> FeatureRows:
        """Feature rows of the windows of the prompts, in order."""
        encoded = self.tokenizer.encode(texts)
        distinct = {row: place for place, row in enumerate(dict.fromkeys(encoded.rows))}
        values = self._read(list(distinct)).double().numpy()
        return FeatureRows(
            values=values if len(values) == len(encoded.rows) else values[[distinct[row] for row in encoded.rows]],
            windows=np.array(encoded.windows),
            tokens=np.array(encoded.lengths),
            truncated=np.array(encoded.cut),
        )

    def _read(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        if isinstance(self.reader, SentenceReader):
            return sentence_vectors(self.reader, rows, batch_size=self.batch_size)
        got = language_geometry(self.reader, rows, batch_size=self.batch_size, layers=self.layers)
        if self.kind == "hidden":
            return got.hidden
        geometry = got.pooled.flatten(1)
        return torch.cat([geometry, got.hidden], dim=1) if self.kind == "both" else geometry

    @staticmethod
    def _all_layers(layers: int | None) -> None:
        if layers is not None:
            raise InputError(
                "layers",
                found=f"{layers} with the features of a sentence encoder",
                expected="none: a sentence vector comes from the last layer",
                remedy="name features hidden, geometry or both to read a part of the model",
            )
