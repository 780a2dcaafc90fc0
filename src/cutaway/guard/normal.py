"""One form of a prompt, so that what looks the same to a reader is the same to the detector.

In this order: Unicode NFKC, with at most 30 combining marks in a row (UAX #15, Stream-Safe Text; what exceeds them is
dropped, not parted, and normalisation stays linear in time); invisible and control characters go, and marks that
overlay letters without composing with them; letters that were spaced out are joined; letters of other scripts that look
Latin become Latin; case is folded; blanks collapse. Not undone, because it cannot be without guessing: leetspeak,
base64, other ciphers. `guard evaluate` measures what those do.

A word that holds a Latin letter is made Latin by every lookalike. A word without one is made Latin only if all its
letters are close lookalikes and at least half the words of the prompt are Latin then: Russian and Greek stay.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache

MARKS = 30
PASSES = 6  # what one step makes, an earlier one may undo; two are enough for nearly all texts
_OVERLAID = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]")
_INVISIBLE = (
    *range(0x180B, 0x1810),
    *range(0xFE00, 0xFE10),
    *range(0xE0000, 0xE1000),
    0x034F,
    0x115F,
    0x1160,
    0x17B4,
    0x17B5,
    0x2065,
    0x2800,
    0x3164,
    0xFFA0,
)
_CLOSE = (  # lookalikes that few readers tell from the Latin letter
    ("аеорсухіјѕһԁԛԝѵӏАВЕКМНОРСТУХІЈЅ", "aeopcyxijshdqwvlABEKMHOPCTYXIJS"),
    ("οΑΒΕΖΗΙΚΜΝΟΡΤΥΧϲϳ", "oABEZHIKMNOPTYXcj"),
    ("օոսհցզՏԼՕ", "onuhgqSLO"),
    ("ᎪᏴᏟᎬᏀᎻᏆᎫᏦᏞᎷᏢᏒᏚᎢᏙᎳᏃ", "ABCEGHIJKLMPRSTVWZ"),
)
_FAR = (
    ("кмтгвнпьзё", "kmtrbhnb3e"),
    ("αβγεηικνρστυχω", "abyenikvpotuxw"),
)
_LATIN = ("ɑɡɩıʟᴀʙᴄᴅᴇꜰɢʜɪᴊᴋᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "agiilabcdefghijkmnoprstuvwyz")
_WORD = re.compile(r"\w+")
_LATIN_LETTER = re.compile("[A-Za-z\u00aa\u00ba\u00c0-\u024f\u1e00-\u1eff]")
_LATIN_WORD = re.compile(rf"(?=.*{_LATIN_LETTER.pattern})(?:{_LATIN_LETTER.pattern}|[\d_])+", re.DOTALL)
_SINGLES = re.compile(r"(?<!\S)\S(?:[ \t]+\S){3,}(?!\S)")
_JOINTS = re.compile(r"(?<![^\W_])[^\W\d_](?:([-._*|·])[^\W\d_](?:\1[^\W\d_]){2,})(?![^\W_])")


def normalised(text: str) -> str:
    """The form of a text that is scored and under which two prompts count as the same; idempotent.

    >>> normalised("Ｈow  t\u200bo\u200b m\u0430ke"), normalised("p o e m   o f   t h e   s e a")
    ('how to make', 'poem of the sea')
    """
    for _ in range(PASSES):
        before, text = text, _once(text)
        if text == before:
            break
    return text


def _once(text: str) -> str:
    text = text if text.isascii() else _composed(text)
    text = _joined(_blanks(_joined(text.translate(_table()))))
    if not text.isascii():
        text = _composed(_latin(text).casefold())
    return _blanks(text.casefold())


def _blanks(text: str) -> str:
    return " ".join(text.split())


def _composed(text: str) -> str:
    """NFKC of a text whose runs of marks are cut first: they make it quadratic."""
    apart = text.translate(_table())
    bounded = _long_runs().sub(r"\1", apart)
    return _OVERLAID.sub("", unicodedata.normalize("NFKC", bounded))


class _Table(dict):
    """Code points to what they decompose into (NFKD), invisible ones to nothing; filled as they are met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        unseen = unicodedata.category(character) in ("Cf", "Cc") and not character.isspace()
        self[code] = "" if unseen else unicodedata.normalize("NFKD", character)
        return self[code]


@cache
def _table() -> _Table:
    table = _Table(dict.fromkeys(_INVISIBLE, ""))
    for start in (0x1F150, 0x1F170, 0x1F1E6):  # negative circled, negative squared, regional indicators
        table |= {start + k: chr(65 + k) for k in range(26)}
    return table


@cache
def _long_runs() -> re.Pattern[str]:
    marks = "".join(chr(c) for c in range(0x300, sys.maxunicode) if unicodedata.combining(chr(c)))
    return re.compile(f"([{marks}]{{{MARKS}}})[{marks}]+")


def _joined(text: str) -> str:
    """Letters spaced out by blanks or by one sign between them, joined; the longer blanks among them part words."""
    return _SINGLES.sub(_closed, _JOINTS.sub(lambda m: m[0].replace(m[1], ""), text))


def _closed(found: re.Match[str]) -> str:
    run = found[0]
    if sum(c.isalpha() for c in run) < 4:
        return run
    least = min(map(len, re.findall(r"\s+", run)))
    return " ".join("".join(word.split()) for word in re.split(rf"\s{{{least + 1},}}", run))


def _latin(text: str) -> str:
    """Lookalikes of Latin letters made Latin, word by word."""
    near, every = _lookalikes()
    text = text.translate(str.maketrans(*_LATIN))
    words = _WORD.findall(text)
    mostly = 2 * sum(_LATIN_WORD.fullmatch(w.translate(near)) is not None for w in words) >= len(words)

    def word(found: re.Match[str]) -> str:
        own = found[0]
        if _LATIN_LETTER.search(own):
            return own.translate(every)
        close = own.translate(near)
        return close if mostly and _LATIN_WORD.fullmatch(close) else own

    return _WORD.sub(word, text)


@cache
def _lookalikes() -> tuple[dict[int, int], dict[int, int]]:
    near = {k: v for pair in _CLOSE for k, v in str.maketrans(*pair).items()}
    return near, {k: v for pair in _FAR for k, v in str.maketrans(*pair).items()} | near
