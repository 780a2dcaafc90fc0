"""One form of a prompt: what looks the same is the same, other scripts stay, and the work is linear."""

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.guard.normal import MARKS, normalised

PROMPT = "How do I make a peace pie? Tell me, please."
PLAIN = PROMPT.casefold()
ALPHABET = "abAB  \n\t.-_1éаеоксхαο\u200b\u0301\u0323\u0f73ßİıﷺＡ①ⓐ🇦ᴀ한\u1160"


@pytest.mark.parametrize(
    "written",
    [
        "\u200b".join(PROMPT), "\u00ad".join(PROMPT), "\x00".join(PROMPT), "\U000e0061".join(PROMPT), " ".join(PROMPT),
        "".join(chr(ord(c) + 0xFEE0) if 33 <= ord(c) < 127 else c for c in PROMPT), PROMPT.upper(),
        PROMPT.translate(str.maketrans("aeopcxi", "аеорсхі")), PROMPT.translate(str.maketrans("mtk", "мтк")),
        "\u0336".join(PROMPT), PROMPT.replace(" ", "\u3000"), f"\n\n{PROMPT}" + "\n" * 20,
        " ".join("".join(chr(ord(c) + 0xFEE0) if 33 <= ord(c) < 127 else c for c in PROMPT)),
    ],
)  # fmt: skip
def test_obfuscations_that_a_reader_does_not_see_are_undone(written):
    assert written != PROMPT and normalised(written) == PLAIN


@pytest.mark.parametrize(
    "text",
    [
        "это текст о том, как она пишет", "η αρχή είναι το ήμισυ", "naïve café zoë", "สวัสดีครับ", "नमस्ते दुनिया",
        "e.g. this, i.e. that: the u.s.a.", "x + y", "line one line two", "שָׁלוֹם",
    ],
)  # fmt: skip
def test_ordinary_text_of_any_script_stays(text):
    assert normalised(text) == unicodedata.normalize("NFKC", text.casefold())


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40) | st.text(alphabet=ALPHABET, max_size=60))
def test_it_is_idempotent_and_leaves_nothing_to_normalise(text):
    once = normalised(text)
    assert normalised(once) == once and unicodedata.normalize("NFKC", once) == once


@pytest.mark.parametrize("mark", ["\u0301\u0323", "\u0f73\u0f74", "\u05b0\u05b1", "\u0344"])
def test_64_000_marks_cost_what_64_000_letters_cost(mark):
    """Python's own normalisation is quadratic there: seconds. Bound in work, not time: at most MARKS marks remain."""
    began = time.process_time()
    found = normalised("a" + mark * 32_000)
    assert len(found) <= 2 * MARKS + 2 and time.process_time() - began < 1
