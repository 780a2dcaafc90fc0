"""Prompts to token rows: what a prompt may be, how it is cut, and whether the tokenizer belongs to the model.

A prompt is a text that is not blank and can be written as UTF-8. Tokens are the tokenizer's, with the begin-of-text
token in front where there is one, cut on the right at `max_length`; every cut is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

from torch import nn

from cutaway.errors import InputError, ModelError


def check_prompt(text: Any, *, where: str = "the prompt") -> str:
    """The prompt itself; InputError for what is no text, blank, or holds a lone surrogate (which is no character)."""
    if not isinstance(text, str):
        raise InputError(where, found=f"a {type(text).__name__}", expected="a text")
    if not text.strip():
        raise InputError(where, found="an empty or blank text", expected="at least one visible character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            where, found=f"a lone surrogate at character {error.start}", expected="valid Unicode",
            remedy="decode the text again, from its bytes",
        ) from error  # fmt: skip
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRows:
    """`rows`: token ids of every prompt; `truncated`: whether it was cut; `lengths`: tokens before the cut."""

    rows: tuple[tuple[int, ...], ...]
    truncated: tuple[bool, ...]
    lengths: tuple[int, ...]


class PromptTokenizer:
    """A tokenizer that was checked against its model. `max_length` tokens at most (default: what the model can place,
    and never more than 1,024).

    Raises InputError without a tokenizer or for a `max_length` outside the model's positions, ModelError when the
    tokenizer gives ids that the model has no embedding for.
    """

    def __init__(self, tokenizer: Any, model: nn.Module, *, max_length: int | None = None) -> None:
        if tokenizer is None:
            raise InputError(
                "the model's tokenizer", found="none", expected="a tokenizer beside the model",
                remedy="use a Hugging Face folder that holds tokenizer.json",
            )  # fmt: skip
        self.tokenizer = tokenizer
        rows = _embedding_rows(model)
        largest = max(tokenizer.get_vocab().values(), default=0) if hasattr(tokenizer, "get_vocab") else 0
        if rows is not None and largest >= rows:
            raise ModelError(
                "the tokenizer",
                found=f"token ids up to {largest}",
                expected=f"ids below {rows}, the model's embedding",
                remedy="use the tokenizer that the model was trained with",
            )
        config = getattr(model, "config", None)
        places = getattr(config, "max_position_embeddings", None) or 1024
        if max_length is not None and not 1 <= max_length <= places:
            raise InputError("max_length", found=str(max_length), expected=f"1 to {places}, the model's positions")
        self.max_length = max_length or min(places, 1024)
        # a prompt that is cut here needs no warning from the tokenizer that it is longer than the model
        self._quiet: dict[str, Any] = {"verbose": False} if "verbose" in signature(tokenizer).parameters else {}

    def encode(self, texts: Sequence[str]) -> TokenRows:
        """Token rows of the prompts, checked one by one; every row has at least one token."""
        cut, lengths = [], []
        begin = getattr(self.tokenizer, "bos_token_id", None)
        for i, text in enumerate(texts):
            ids = list(self.tokenizer(check_prompt(text, where=f"prompt {i + 1}"), **self._quiet)["input_ids"])
            if begin is not None and ids[:1] != [begin]:
                ids = [begin, *ids]
            if not ids:
                raise InputError(
                    f"prompt {i + 1}", found="no token", expected="at least one", remedy="check the tokenizer"
                )
            lengths.append(len(ids))
            cut.append(tuple(ids[: self.max_length]))
        return TokenRows(rows=tuple(cut), lengths=tuple(lengths), truncated=tuple(n > self.max_length for n in lengths))


def _embedding_rows(model: nn.Module) -> int | None:
    try:
        embedding = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None  # type: ignore[operator]
    except NotImplementedError:
        embedding = None
    if embedding is None:
        embedding = next((m for m in model.modules() if isinstance(m, nn.Embedding)), None)
    weight = getattr(embedding, "weight", None)
    return None if weight is None else int(weight.shape[0])
