"""Small changes to a sentence that should not change its meaning: by character, by word, by sentence; seeded, offline.

`character`: swap two neighbours, replace by a neighbouring key, delete, insert, repeat. `word`: delete, repeat, negate
a verb, move a word, singular/plural of a verb, tense of a verb. `sentence`: our own rules (politeness, contraction,
opening words, order of clauses) in place of the paper's rephrasing by a 13-billion-parameter model, which cannot run
offline here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cutaway.errors import InputError

_KEYS = {
    "q": "wa",
    "w": "qes",
    "e": "wrd",
    "r": "etf",
    "t": "ryg",
    "y": "tuh",
    "u": "yij",
    "i": "uok",
    "o": "ipl",
    "p": "o",
    "a": "qsz",
    "s": "adwx",
    "d": "sfec",
    "f": "dgrv",
    "g": "fhtb",
    "h": "gjyn",
    "j": "hkum",
    "k": "jlio",
    "l": "kop",
    "z": "ax",
    "x": "zcs",
    "c": "xvd",
    "v": "cbf",
    "b": "vng",
    "n": "bmh",
    "m": "njk",
}
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_PLURAL = {
    "is": "are",
    "are": "is",
    "was": "were",
    "were": "was",
    "has": "have",
    "have": "has",
    "does": "do",
    "do": "does",
}
_TENSE = {
    "is": "was",
    "are": "were",
    "was": "is",
    "were": "are",
    "am": "was",
    "do": "did",
    "does": "did",
    "did": "do",
    "can": "could",
    "could": "can",
    "will": "would",
    "would": "will",
    "have": "had",
    "has": "had",
    "had": "have",
}
_SHORT = {
    "are you": "you are",
    "i am": "i'm",
    "do not": "don't",
    "is not": "isn't",
    "can not": "can't",
    "it is": "it's",
    "you are": "you're",
    "i have": "i've",
    "what is": "what's",
    "i'm": "i am",
    "don't": "do not",
}
_OPENINGS = ("so, ", "well, ", "please tell me, ", "i wonder: ", "hey, ", "ok, ", "just to be sure, ")


def _swap(s: str, i: int, rng) -> str:
    return s[:i] + s[i + 1 : i + 2] + s[i] + s[i + 2 :]


def _replace(s: str, i: int, rng) -> str:
    near = _KEYS.get(s[i].lower(), _LETTERS)
    return s[:i] + near[int(rng.integers(len(near)))] + s[i + 1 :]


def _delete(s: str, i: int, rng) -> str:
    return s[:i] + s[i + 1 :]


def _insert(s: str, i: int, rng) -> str:
    return s[:i] + _LETTERS[int(rng.integers(26))] + s[i:]


def _repeat(s: str, i: int, rng) -> str:
    return s[:i] + s[i] + s[i:]


CHARACTER: dict[str, Callable] = {
    "swap": _swap,
    "replace": _replace,
    "delete": _delete,
    "insert": _insert,
    "repeat": _repeat,
}


def _word_delete(words: list[str], i: int, rng) -> list[str]:
    return words[:i] + words[i + 1 :] if len(words) > 1 else words


def _word_repeat(words: list[str], i: int, rng) -> list[str]:
    return words[: i + 1] + words[i:]


def _negate(words: list[str], i: int, rng) -> list[str]:
    at = next((k for k, w in enumerate(words) if w.lower() in _TENSE), None)
    return words if at is None else words[: at + 1] + ["not"] + words[at + 1 :]


def _move(words: list[str], i: int, rng) -> list[str]:
    rest = words[:i] + words[i + 1 :]
    j = int(rng.integers(len(rest) + 1))
    return rest[:j] + [words[i]] + rest[j:]


def _swapped(table: dict[str, str]) -> Callable:
    def change(words: list[str], i: int, rng) -> list[str]:
        at = next((k for k, w in enumerate(words) if w.lower() in table), None)
        return words if at is None else words[:at] + [table[words[at].lower()]] + words[at + 1 :]

    return change


WORD: dict[str, Callable] = {
    "delete": _word_delete,
    "repeat": _word_repeat,
    "negate": _negate,
    "move": _move,
    "plural": _swapped(_PLURAL),
    "tense": _swapped(_TENSE),
}
LEVELS = ("character", "word", "sentence")
"""At which a text is changed: letters, words, the whole."""


def perturb(sentence: str, level: str, count: int, rng: np.random.Generator) -> list[str]:
    """At most `count` different perturbations of the sentence (never itself); fewer where it allows no more.

    Deterministic for a generator's state. Raises InputError for an unknown level.
    """
    if level not in LEVELS:
        raise InputError("level", found=repr(level), expected="one of " + ", ".join(LEVELS), remedy="give one of these")
    found: dict[str, None] = {}
    for _ in range(4 * count):
        made = {"character": _character, "word": _word, "sentence": _sentence}[level](sentence, rng)
        if made.strip() and made != sentence:
            found[made] = None
        if len(found) == count:
            break
    return list(found)


def _character(sentence: str, rng: np.random.Generator) -> str:
    name = list(CHARACTER)[int(rng.integers(len(CHARACTER)))]
    return CHARACTER[name](sentence, int(rng.integers(len(sentence))), rng)


def _word(sentence: str, rng: np.random.Generator) -> str:
    words = sentence.split()
    name = list(WORD)[int(rng.integers(len(WORD)))]
    return " ".join(WORD[name](words, int(rng.integers(len(words))), rng))


def _sentence(sentence: str, rng: np.random.Generator) -> str:
    kind = int(rng.integers(4))
    body = sentence.rstrip(" ?.!")
    if kind == 0:
        return _OPENINGS[int(rng.integers(len(_OPENINGS)))] + sentence
    if kind == 1:
        pairs = [(a, b) for a, b in _SHORT.items() if a in sentence.lower()]
        if not pairs:
            return body + ", please?"
        a, b = pairs[int(rng.integers(len(pairs)))]
        return sentence.lower().replace(a, b, 1)
    if kind == 2:
        parts = [p.strip() for p in body.split(",")]
        return ", ".join(parts[1:] + parts[:1]) if len(parts) > 1 else body + ", right?"
    return body + (", could you say?", ", i mean.", ", thank you.")[int(rng.integers(3))]
