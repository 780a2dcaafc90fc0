"""Prompts to token rows: what a prompt may be, its windows, and whether the tokenizer belongs to the model.

A prompt is a text that is not blank and can be written as UTF-8. Tokens are the tokenizer's, with the begin-of-text
token in front where there is one. What is longer than `max_length` is read in windows of that length: each with the
special tokens at both ends, the next begins when three quarters are read, and the last ends with the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

from torch import nn

from cutaway.errors import InputError, ModelError
from cutaway.guard.normal import normalised, without_leetspeak


def check_prompt(text: Any, *, where: str = "the prompt") -> str:
    """The prompt itself; InputError for what is no text, blank, or holds a lone surrogate (which is no character)."""
    if not isinstance(text, str):
        raise InputError(where, found=f"a {type(text).__name__}", expected="a text", remedy="give the prompt as a text")
    if not text.strip():
        raise InputError(
            where,
            found="an empty or blank text",
            expected="at least one visible character",
            remedy="leave it out, or write a prompt",
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            where,
            found=f"a lone surrogate at character {error.start}",
            expected="valid Unicode",
            remedy="decode the text again, from its bytes",
        ) from error
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRows:
    """`rows`: token ids of every window, prompt after prompt, those of a second reading (`without_leetspeak`) behind
    those of the first; `windows` (n): how many of them each prompt has; `lengths` (n): its tokens, special ones counted
    once; `cut` (n): whether these are more than one window holds."""

    rows: tuple[tuple[int, ...], ...]
    windows: tuple[int, ...]
    lengths: tuple[int, ...]
    cut: tuple[bool, ...]


class PromptTokenizer:
    """A tokenizer that was checked against its model. `max_length` tokens at most (default: what the model can place,
    and never more than 1,024). `plain`: whether prompts are normalised first (see `normal`).

    Raises InputError without a tokenizer or for a `max_length` outside the model's positions or without room beside
    the special tokens, ModelError when the tokenizer gives ids that the model has no embedding for.
    """

    def __init__(self, tokenizer: Any, model: nn.Module, *, max_length: int | None = None, plain: bool = True) -> None:
        if tokenizer is None:
            raise InputError(
                "the model's tokenizer",
                found="none",
                expected="a tokenizer beside the model",
                remedy="use a Hugging Face folder that holds tokenizer.json",
            )
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
            raise InputError(
                "max_length",
                found=str(max_length),
                expected=f"1 to {places}, the model's positions",
                remedy="give a number in this range",
            )
        self.max_length = max_length or min(places, 1024)
        # a prompt that is cut here needs no warning from the tokenizer that it is longer than the model
        self._quiet: dict[str, Any] = {"verbose": False} if "verbose" in signature(tokenizer).parameters else {}

        self.plain = plain
        self._head, self._tail = self._special_tokens()
        self.room = self.max_length - len(self._head) - len(self._tail)
        if self.room < 1:
            least = len(self._head) + len(self._tail) + 1
            raise InputError(
                "max_length",
                found=str(self.max_length),
                expected=f"at least {least}, for one word token",
                remedy="give a larger max_length",
            )

    @property
    def special(self) -> tuple[int, int]:
        """How many special tokens stand before and after every text."""
        return len(self._head), len(self._tail)

    def encode(self, texts: Sequence[str]) -> TokenRows:
        """Token rows of the prompts, checked one by one; every row has at least one token."""
        rows, windows, lengths, cut = [], [], [], []
        for i, text in enumerate(texts):
            where = f"prompt {i + 1}"
            text = check_prompt(text, where=where)
            read = check_prompt(normalised(text), where=where) if self.plain else text
            ids = self._ids(read)
            if not ids:
                raise InputError(where, found="no token", expected="at least one", remedy="check the tokenizer")
            found = self._windows(ids)
            cut.append(len(found) > 1)
            if self.plain and (spoken := without_leetspeak(read)) is not None:
                found += self._windows(self._ids(spoken))
            rows += found
            windows.append(len(found))
            lengths.append(len(ids))
        return TokenRows(rows=tuple(rows), windows=tuple(windows), lengths=tuple(lengths), cut=tuple(cut))

    def _ids(self, text: str) -> list[int]:
        ids = list(self.tokenizer(text, **self._quiet)["input_ids"])
        begin = getattr(self.tokenizer, "bos_token_id", None)
        return ids if begin is None or ids[:1] == [begin] else [begin, *ids]

    def _special_tokens(self) -> tuple[list[int], list[int]]:
        """What the tokenizer puts before and after any text: the parts of its answer to an empty one."""
        empty, probe = self._ids(""), self._ids("a")
        head = 0
        while head < len(empty) and empty[head : head + 1] == probe[head : head + 1]:
            head += 1
        return empty[:head], empty[head:]

    def _windows(self, ids: list[int]) -> list[tuple[int, ...]]:
        if len(ids) <= self.max_length:
            return [tuple(ids)]
        body = ids[len(self._head) : len(ids) - len(self._tail)]
        last, step = len(body) - self.room, self.room - self.room // 4
        return [(*self._head, *body[start : start + self.room], *self._tail) for start in [*range(0, last, step), last]]


def _embedding_rows(model: nn.Module) -> int | None:
    try:
        ask: Any = getattr(model, "get_input_embeddings", None)
        embedding = None if ask is None else ask()
    except NotImplementedError:
        embedding = None
    if embedding is None:
        embedding = next((m for m in model.modules() if isinstance(m, nn.Embedding)), None)
    weight = getattr(embedding, "weight", None)
    return None if weight is None else int(weight.shape[0])
