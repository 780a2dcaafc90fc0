"""The table of obfuscations: what is undone is flagged as often as the plain prompt, what is not is measured."""

import json

import pandas
import pytest

from cutaway.cli import run
from cutaway.errors import InputError
from cutaway.guard import Guardrail, evaluate_guardrail
from cutaway.guard.obfuscation import OBFUSCATIONS, obfuscated

UNDONE = {"plain", "spaced", "fullwidth", "zero-width", "homoglyph", "upper case"}


def test_every_disguise_changes_the_text_and_base64_can_be_read():
    from base64 import b64decode

    text = "Tell me a secret recipe."
    made = {name: disguise(text) for name, disguise in OBFUSCATIONS.items()}
    assert made.pop("plain") == text and text not in {v for k, v in made.items() if "prefix" not in k}
    assert b64decode(made["base64"]).decode() == text and made["leetspeak"] == "73ll m3 4 53cr37 r3c1p3."
    assert made["long benign prefix"].endswith(text) and len(made["long benign prefix"].split()) == 805


def test_what_is_undone_is_flagged_as_often_as_the_plain_prompt(fitted, make_rows):
    rows = make_rows(120, seed=21)
    harmful, harmless = rows.texts[1::2], rows.texts[::2]
    found = obfuscated(fitted, harmful, harmless, most=40)
    assert list(found) == list(OBFUSCATIONS) and {f.rows for f in found.values()} == {40}
    assert {name: found[name].share for name in UNDONE} == dict.fromkeys(UNDONE, found["plain"].share)
    assert 0.3 < found["plain"].low < found["plain"].share < found["plain"].high
    assert found["plain"].harmless_rows == 40 and found["plain"].harmless_share < found["plain"].low


def test_leetspeak_is_read_a_second_time_and_the_worse_reading_counts(fitted, model_folder, make_rows):
    disguised, spoken = "5t0rm8 c4lm2 5t0rm9", "storm8 calm2 storm9"
    tokenizer = fitted._features().tokenizer
    both = tokenizer.encode([disguised, spoken])
    assert (both.windows, both.cut) == ((2, 1), (False, False))
    assert both.rows[1] == both.rows[2] != both.rows[0]
    one, two = fitted.verdicts([disguised, spoken])
    as_sent = fitted.detector_.logits(fitted._features()([disguised]).values)
    assert one.score == pytest.approx(max(as_sent)) and one.score >= two.score - 1e-6 and not one.truncated
    assert Guardrail(model_folder, plain=False)._features().tokenizer.encode([disguised]).windows == (1,)


def test_a_guardrail_that_reads_prompts_as_sent_is_shown_to_be_blind(model_folder, make_rows):
    """The table can tell the difference: words this tokenizer does not know all look alike."""
    guard = Guardrail(model_folder, rate=0.1, plain=False).fit(make_rows(200))
    rows = make_rows(100, seed=4)
    found = obfuscated(guard, rows.texts[1::2], rows.texts[::2])
    shares = {found[name].share for name in ("spaced", "fullwidth", "zero-width", "upper case")}
    assert shares <= {0.0, 1.0} and 0 < found["plain"].share < 1
    assert found["spaced"].harmless_share == found["spaced"].share  # so a share of 1 is no merit


def test_the_report_of_the_command_shows_the_table(guard_folder, make_rows, tmp_path, capsys):
    rows = make_rows(60, seed=31)
    pandas.DataFrame({"text": rows.texts, "label": rows.labels}).to_csv(tmp_path / "rows.csv", index=False)
    command = ["guard", "evaluate", str(guard_folder), "--data", str(tmp_path / "rows.csv"), "--disguised", "12"]
    assert run([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["obfuscated"]
    assert list(found) == list(OBFUSCATIONS) and {
        "rows",
        "flagged",
        "share",
        "low",
        "high",
        "harmless_share",
        "harmless_rows",
    } == set(found["base64"])
    assert run(command) == 0
    words = capsys.readouterr().out
    assert (
        "harmful prompts     rows flagged   share [    95 %     ]   harmless" in words
        and "\nbenign prefix         12" in words
    )
    assert run([*command[:-1], "-1"]) == 2 and "--disguised; found -1; expected 0 or more" in capsys.readouterr().err


def test_it_is_left_out_unless_asked_for(fitted, make_rows):
    assert evaluate_guardrail(fitted, make_rows(60, seed=41)).obfuscated == {} == obfuscated(fitted, [], [])
    with pytest.raises(InputError, match="empty or blank"):
        obfuscated(fitted, [" "], [])


def test_windows_of_the_same_tokens_are_read_once(fitted, monkeypatch):
    reader, read = fitted._features(), []
    monkeypatch.setattr(reader, "_read", lambda rows, real=reader._read: read.append(len(rows)) or real(rows))
    texts = ["calm1 storm2", "C a l m 1  s t o r m 2", "storm3", "calm1 storm2"]
    assert (
        fitted.decision_function(texts).tolist()
        == fitted.decision_function([texts[0], texts[0], texts[2], texts[0]]).tolist()
    )
    assert read == [2, 2]
