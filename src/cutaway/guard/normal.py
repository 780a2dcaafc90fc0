"""One form of a prompt, so that what looks the same to a reader is the same to the detector.

In this order: Unicode NFKC, with at most 30 combining marks in a row (UAX #15, Stream-Safe Text; what exceeds them is
dropped, not parted, and normalisation stays linear in time); invisible and control characters go, and marks that
overlay letters without composing with them; letters that were spaced out are joined; letters of other scripts that look
Latin become Latin; case is folded; blanks collapse. Leetspeak cannot be undone without guessing, so it is a second
reading beside the first (`without_leetspeak`), of which the worse counts. Not undone: base64, other ciphers. `guard
evaluate` measures what those do.

A word that holds a Latin letter is made Latin by every lookalike. A word without one is made Latin only if all its
letters are close lookalikes and at least half the words of the prompt are Latin then: Russian and Greek stay.

Work is linear in the text. `most` bounds it for texts of others: what compatibility characters unfold to is measured
before anything else is done.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

MARKS = 30
UNFOLDED = 4  # code points of one composed character taken apart, at most (canonical decomposition)
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
_LEET = re.compile("[013457@$][a-z]")
_SPOKEN = str.maketrans("013457@$", "oieastas")
_WORD = re.compile(r"\w+")
_LATIN_LETTER = re.compile("[A-Za-z\u00aa\u00ba\u00c0-\u024f\u1e00-\u1eff]")
_LATIN_SIGNS = re.compile(rf"(?:{_LATIN_LETTER.pattern}|[\d_])+")
_SINGLES = re.compile(r"(?<!\S)\S(?:[ \t]+\S){3,}(?!\S)")
_BLANKS = re.compile(r"\s+")
_LONG_RUN = re.compile(f"(?<=m{{{MARKS}}})m+")
_JOINTS = re.compile(r"(?<![^\W_])[^\W\d_](?:([-._*|·])[^\W\d_](?:\1[^\W\d_]){2,})(?![^\W_])")


class Overlong(ValueError):
    """A text that unfolds to more than was allowed."""


def normalised(text: str, *, most: int | None = None) -> str:
    """The form of a text that is scored and under which two prompts count as the same; idempotent. Raises `Overlong`
    for a text that takes more than `UNFOLDED * most` code points when taken apart, so no less than `most` put together.

    >>> normalised("Ｈow  t\u200bo\u200b m\u0430ke"), normalised("p o e m   o f   t h e   s e a")
    ('how to make', 'poem of the sea')
    """
    if most is not None and not text.isascii() and len(_apart(text)) > UNFOLDED * most:
        raise Overlong(f"a text of {len(text)} characters that unfolds to more than {UNFOLDED * most}")
    for _ in range(PASSES):
        before, text = text, _once(text)
        if text == before:
            break
    return text


def without_leetspeak(plain: str) -> str | None:
    """A second reading of a normalised text in which digits stand for letters, None where few words look like that: at
    least two, and a quarter of all, hold such a digit right before a letter. Linear in the text.

    >>> without_leetspeak("h0w 70 m4k3 4 c4k3"), without_leetspeak("4 cups, 350 g, a 2nd layer on top of the 1st")
    ('how to make a cake', None)
    """
    words = plain.split()
    disguised = sum(_LEET.search(word) is not None for word in words)
    if disguised < max(2, len(words) / 4):
        return None
    return plain.translate(_SPOKEN)


def _once(text: str) -> str:
    text = text if text.isascii() else _composed(text)
    text = _joined(_blanks(_joined(_apart(text))))
    if not text.isascii():
        text = _composed(_latin(text).casefold())
    return _blanks(text.casefold())


def _blanks(text: str) -> str:
    return " ".join(text.split())


def _composed(text: str) -> str:
    """NFKC of a text whose runs of marks are cut first: they make it quadratic."""
    return _OVERLAID.sub("", unicodedata.normalize("NFKC", _cut(_apart(text))))


def _apart(text: str) -> str:
    return text.translate(_table())


def _cut(apart: str) -> str:
    """No more than MARKS marks in a row."""
    pieces, end = [], 0
    for run in _LONG_RUN.finditer(apart.translate(_MARKED)):
        pieces.append(apart[end : run.start()])
        end = run.end()
    return "".join([*pieces, apart[end:]])


class _Marked(dict):
    """Code points to "m" where they are combining marks, else to "-"."""

    def __missing__(self, code: int) -> str:
        self[code] = "m" if unicodedata.combining(chr(code)) else "-"
        return self[code]


_MARKED = _Marked()


class _Table(dict):
    """Code points to what they decompose into (NFKD), invisible ones to nothing; filled as they are met."""

    def __missing__(self, code: int) -> str | int:
        character = chr(code)
        unseen = unicodedata.category(character) in ("Cf", "Cc") and not character.isspace()
        form = "" if unseen else unicodedata.normalize("NFKD", character)
        self[code] = code if form == character else form  # most stay: no text is kept for them
        return self[code]


@cache
def _table() -> _Table:
    table = _Table(dict.fromkeys(_INVISIBLE, ""))
    for start in (0x1F150, 0x1F170, 0x1F1E6):  # negative circled, negative squared, regional indicators
        table |= {start + k: chr(65 + k) for k in range(26)}
    return table


def _joined(text: str) -> str:
    """Letters spaced out by blanks or by one sign between them, joined; the longer blanks among them part words."""
    return _SINGLES.sub(_closed, _JOINTS.sub(lambda m: m[0].replace(m[1], ""), text))


def _closed(found: re.Match[str]) -> str:
    run = found[0]
    if sum(c.isalpha() for c in run) < 4:
        return run
    gaps = _BLANKS.findall(run)
    least = min(map(len, gaps))
    signs = _BLANKS.split(run)
    parted = [sign + " " * (len(gap) > least) for sign, gap in zip(signs, [*gaps, ""], strict=True)]
    return "".join(parted)


def _latin(text: str) -> str:
    """Lookalikes of Latin letters made Latin, word by word."""
    near, every = _lookalikes()
    text = text.translate(str.maketrans(*_LATIN))
    words = _WORD.findall(text)
    mostly = 2 * sum(_is_latin(w.translate(near)) for w in words) >= len(words)

    def word(found: re.Match[str]) -> str:
        own = found[0]
        if _LATIN_LETTER.search(own):
            return own.translate(every)
        close = own.translate(near)
        return close if mostly and _is_latin(close) else own

    return _WORD.sub(word, text)


def _is_latin(word: str) -> bool:
    return _LATIN_LETTER.search(word) is not None and _LATIN_SIGNS.fullmatch(word) is not None


@cache
def _lookalikes() -> tuple[dict[int, int], dict[int, int]]:
    near = {k: v for pair in _CLOSE for k, v in str.maketrans(*pair).items()}
    return near, {k: v for pair in _FAR for k, v in str.maketrans(*pair).items()} | near
