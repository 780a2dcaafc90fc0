"""Behind a verdict: the training prompts nearest to a prompt, by MaxSim with the tokens that match, and by words.

`Evidence` holds prompts of the fitting with their labels and the unit token vectors that the guardrail's own model
gives
them (special tokens and padding left out, first window only). How far nearness tells the label is measured on prompts
that are not among them (`agreement`): the share whose nearest kept prompt has their own label, with MaxSim and with
TF-IDF. The encoder is as it comes, not trained for MaxSim. Its files: `evidence_file`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from cutaway.guard.guardrail import Guardrail
from cutaway.guard.normal import normalised
from cutaway.guard.rows import PromptRows
from cutaway.language.geometry import token_batches
from cutaway.language.sentences import SentenceReader
from cutaway.language.token_similarity import matches, maxsim
from cutaway.reading.intervals import proportion_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A token of the prompt, the token of the training prompt that answers to it, and their cosine."""

    token: str
    match: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """A training prompt: `score` its MaxSim (or, found by words, the cosine of TF-IDF vectors and no `tokens`)."""

    text: str
    label: str
    score: float
    tokens: tuple[Match, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Of `rows` prompts that are not kept, `agree` have the label of the nearest kept one; Clopper-Pearson at 95 %.
    `words`: as many by TF-IDF. `chance`: the share to expect were labels permuted."""

    rows: int
    agree: int
    share: float
    low: float
    high: float
    words: int
    chance: float


class TokenVectors:
    """Token vectors of a guardrail's model; stateless between calls."""

    def __init__(self, guard: Guardrail) -> None:
        model = guard.loaded().model
        self.tokenizer, self._batch = guard._features().tokenizer, guard.batch_size
        self._device = next(model.parameters()).device
        example = torch.tensor([self.tokenizer.encode(["a few words"]).rows[0]], device=self._device)
        self._reader = SentenceReader(model, example)

    def __call__(self, texts: Sequence[str]) -> tuple[list[np.ndarray], list[list[str]]]:
        """Unit vectors (T, D) float16 of every text's first window without special tokens, and the tokens' names. One
        forward pass a text."""
        rows = self._first_windows(texts)
        vectors: list[Any] = [None] * len(rows)
        for part, tokens, mask in token_batches(rows, self._batch, pad=self._reader.takes_mask):
            on = None if mask is None else mask.to(self._device)
            found = self._reader.token_vectors(tokens.to(self._device), on).half().cpu().numpy()
            for k, i in enumerate(part):
                vectors[i] = found[k, self._inner(rows[i])]
        return vectors, self._names(rows)

    def names(self, text: str) -> list[str]:
        """The names of the tokens whose vectors a call gives."""
        return self._names(self._first_windows([text]))[0]

    def _first_windows(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        encoded = self.tokenizer.encode(texts)
        return [encoded.rows[i] for i in np.cumsum(encoded.windows) - np.array(encoded.windows)]

    def _inner(self, row: Sequence[int]) -> slice:
        head, tail = self.tokenizer.special
        return slice(head, len(row) - tail) if len(row) > head + tail else slice(None)

    def _names(self, rows: Sequence[tuple[int, ...]]) -> list[list[str]]:
        tool = self.tokenizer.tokenizer
        name = getattr(tool, "convert_ids_to_tokens", None) or (lambda ids: [tool.decode([i]) for i in ids])
        return [[str(t).strip("\u2581\u0120 ") or " " for t in name(list(row[self._inner(row)]))] for row in rows]


class Evidence:
    """Kept prompts of a guardrail: `texts`, `labels` (n,) and `vectors`, n arrays (T, D) float16."""

    def __init__(
        self,
        texts: Sequence[str],
        labels: np.ndarray,
        vectors: Sequence[np.ndarray],
        agreement: Agreement | None = None,
    ) -> None:
        self.texts, self.labels, self.vectors = tuple(texts), np.asarray(labels), list(vectors)
        self.agreement = agreement

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def _words(self):
        from sklearn.feature_extraction.text import TfidfVectorizer

        tool = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        return tool, tool.fit_transform(map(normalised, self.texts))

    def by_words(self, texts: Sequence[str]) -> np.ndarray:
        """Cosines of TF-IDF vectors, (len(texts), n)."""
        tool, kept = self._words
        return (tool.transform(map(normalised, texts)) @ kept.T).toarray()

    def nearest(self, reader: TokenVectors, text: str, *, count: int = 5) -> tuple[list[Nearest], list[Nearest]]:
        """The `count` nearest kept prompts by MaxSim, and by words, nearest first. One forward pass and T_q x (all kept
        tokens) x D multiplications."""
        (own,), (names,) = reader([text])
        scores = maxsim([own], self.vectors)[0]
        found = []
        for k in np.argsort(-scores, kind="stable")[:count]:
            others = reader.names(self.texts[k])
            place, alike = matches(own, self.vectors[k])
            pairs = tuple(
                Match(token=a, match=others[j], score=float(s)) for a, j, s in zip(names, place, alike, strict=True)
            )
            found.append(Nearest(text=self.texts[k], label=self._label(k), score=float(scores[k]), tokens=pairs))
        cosines = self.by_words([text])[0]
        order = [k for k in np.argsort(-cosines, kind="stable")[:count] if cosines[k] > 0]
        return found, [Nearest(text=self.texts[k], label=self._label(k), score=float(cosines[k])) for k in order]

    def _label(self, k: int) -> str:
        return "harmful" if self.labels[k] else "harmless"


def keep_evidence(
    guard: Guardrail, rows: PromptRows, held: PromptRows, *, most: int = 1000, tested: int = 200, seed: int = 0
) -> Evidence:
    """At most `most` prompts of `rows`, the labels in equal shares as far as they go, drawn with `seed`, and how far
    nearness tells the label of at most `tested` prompts of `held`. One forward pass a prompt."""
    rng, reader = np.random.default_rng(seed), TokenVectors(guard)
    order = rng.permutation(len(rows))
    by_label = [order[rows.labels[order] == label] for label in (0, 1)]
    half = max(most - min(len(p) for p in by_label), most // 2)
    kept = np.sort(np.concatenate([p[:half] for p in by_label]))[:most]
    found = Evidence([rows.texts[i] for i in kept], rows.labels[kept], reader([rows.texts[i] for i in kept])[0])
    asked = rng.permutation(len(held))[:tested]
    if not len(asked):
        return found
    texts, labels = [held.texts[i] for i in asked], held.labels[asked]
    hits = int((found.labels[maxsim(reader(texts)[0], found.vectors).argmax(1)] == labels).sum())
    words = int((found.labels[found.by_words(texts).argmax(1)] == labels).sum())
    low, high = proportion_interval(hits, len(asked))
    p, q = float(found.labels.mean()), float(labels.mean())
    found.agreement = Agreement(
        rows=len(asked),
        agree=hits,
        share=hits / len(asked),
        low=low,
        high=high,
        words=words,
        chance=p * q + (1 - p) * (1 - q),
    )
    return found


class Explainer:
    """A guardrail with its kept prompts: `explainer(text)` is the verdict and what stands behind it, as plain
    values."""

    def __init__(self, guard: Guardrail, kept: Evidence) -> None:
        self.guard, self.kept, self._reader = guard, kept, TokenVectors(guard)

    def __call__(self, text: str, *, count: int = 5) -> dict[str, Any]:
        """{"verdict", "evidence", "by_words", "agreement"}: the nearest `count` by MaxSim and by words."""
        verdict = self.guard.verdicts([text])[0]
        near, words = self.kept.nearest(self._reader, text, count=count)
        told = self.kept.agreement
        bare = [{k: v for k, v in asdict(n).items() if k != "tokens"} for n in words]
        return {
            "verdict": asdict(verdict),
            "evidence": [asdict(n) for n in near],
            "by_words": bare,
            "agreement": None if told is None else asdict(told),
        }
