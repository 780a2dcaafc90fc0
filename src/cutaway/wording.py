"""Numbers and nulls in words: what every sentence, table head and picture says of them, in one place."""

from __future__ import annotations

import math
from typing import NamedTuple


class NullWords(NamedTuple):
    """What a null is called: in a sentence (`long`, a noun phrase) and in a table head or a legend (`short`)."""

    long: str
    short: str


NULL_WORDS = {
    "reinitialised": NullWords("untrained networks of the same architecture", "untrained"),
    "matched-spectrum": NullWords("networks of the same singular values with random singular vectors", "same spectrum"),
    "permuted-labels": NullWords("the same network with the labels in random order", "labels permuted"),
    "permuted-groups": NullWords("the same rows with the groups in random order within each class", "groups permuted"),
    "shuffled-answers": NullWords("the same answers dealt anew to the prompts", "answers shuffled"),
    "permuted-rows": NullWords("the same candidates on the labels in random order", "labels permuted"),
    "permuted-generations": NullWords("the same errors in random order over the places", "order permuted"),
    "random-filter": NullWords("filters that keep as many rows at random", "kept at random"),
    "memorised-labels": NullWords(
        "networks of the same architecture that have memorised the labels in random order", "labels memorised"
    ),
    "random-mask": NullWords("the same network with the zeros of every layer at random places", "random mask"),
}
"""By the null's name; a `Null` of another package adds its own when its class is made."""


def null_words(name: str) -> NullWords:
    """The words of the null called `name`; plain ones where nobody knows it."""
    return NULL_WORDS.get(name, NullWords("the null" + f" {name!r}" * bool(name), name or "null"))


def said(value: float | None, form: str = ".3g") -> str:
    """A number in a sentence: never nan, inf or None."""
    if value is None or math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "beyond any bound"
    text = format(value, form)
    return text[1:] if text.startswith("-") and not text.strip("-0.%") else text  # no minus zero


def counted(number: int, noun: str) -> str:
    """1 null, 2 nulls."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def title(instrument: str) -> str:
    """What an instrument is called in a heading: Boundary distance, LoFi features."""
    words = instrument.replace("-", " ").replace("lofi", "LoFi")
    return words[:1].upper() + words[1:]


def distance(norm: str) -> str:
    """How a norm is called: l2, l∞."""
    return "l∞" if norm in ("inf", "linf") else f"l{norm}"
