"""Guardrail: rows and prompts refused with their place, calibration, folder round trip, evaluation, command line."""

import json

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cutaway.cli import run
from cutaway.errors import FileError, InputError, ModelError
from cutaway.guard import (
    Guardrail,
    PromptRows,
    calibrate,
    evaluate_guardrail,
    from_lists,
    load_guardrail,
    read_rows,
    save_guardrail,
)
from cutaway.guard.baselines import compare
from cutaway.guard.evaluation import auroc, auroc_interval, rates
from cutaway.guard.folder import _first_detector_hash, reseal
from cutaway.guard.ordinary import ORDINARY, ordinary
from cutaway.guard.prompts import PromptTokenizer, check_prompt


def test_csv_jsonl_and_parquet_give_the_same_rows(tmp_path):
    frame = pandas.DataFrame({"text": ["a, b", 'say "c"\nd'], "label": ["harmful", "fine"], "source": ["x", "y"]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(r) for r in frame.to_dict("records")) + "\n")
    for name in ("a.csv", "a.parquet", "a.jsonl"):
        rows = read_rows(tmp_path / name)
        assert rows.texts == ("a, b", 'say "c"\nd') and rows.labels.tolist() == [1, 0] and rows.sources == ("x", "y")


@pytest.mark.parametrize(
    ("content", "kind", "error", "words"),
    [
        ("question,label\na,1\n", "csv", InputError, "column 'text' .*expected one of 'question', 'label'"),
        ("text,label\na,1\n ,0\n", "csv", InputError, "row 2 of .*empty or blank"),
        ("text,label\na,good\n", "csv", InputError, "labels good; expected at least one that is named harmful"),
        ("text,label\na,1,2\n", "csv", FileError, "row 2 of .*3 fields; expected 2"),
        ("text,label\n", "csv", FileError, "no rows"),
        ("text,label\na,1\nb,\n", "csv", InputError, "label of row 2 of .*found none; expected a label in every row"),
        ('{"text": "a", "label": 1}\n{"text": "b"}\n', "jsonl", InputError, "label of row 2 of .*found none"),
        ('{"text": "a", "label": null}\n', "jsonl", InputError, "label of row 1 of .*found none"),
        ("text,label,text\na,1,b\n", "csv", FileError, "two columns named 'text'; expected every name once"),
        ('{"text": "a\\ud800", "label": 1}\n', "jsonl", InputError, "row 1 .*lone surrogate at character 1"),
        ('{"text": "a", "label": 1}\n{"text"\n', "jsonl", FileError, "line 2 .*no valid JSON"),
        ('{"text": 3, "label": 1}\n', "jsonl", InputError, "row 1 .*found a int; expected a text"),
        ("x", "xlsx", FileError, "expected .csv, .jsonl or .parquet"),
        ("x", "parquet", FileError, "not a complete parquet file"),
    ],
)
def test_bad_files_name_the_row_and_the_remedy(tmp_path, content, kind, error, words):
    path = tmp_path / f"rows.{kind}"
    path.write_text(content)
    with pytest.raises(error, match=words):
        read_rows(path)


def test_bytes_that_are_not_utf8_name_the_line(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"text,label\ngood,1\nbad \xff,0\n")
    with pytest.raises(FileError, match="a byte that is not UTF-8 in line 3"):
        read_rows(tmp_path / "a.csv")
    with pytest.raises(FileError, match="no such file"):
        read_rows(tmp_path / "b.csv")


def test_one_class_and_too_few_rows_are_refused(model_folder):
    with pytest.raises(InputError, match="found 6 rows, all harmful"):
        Guardrail(model_folder).fit([f"storm{i}" for i in range(6)], [1] * 6)
    with pytest.raises(InputError, match=r"expected 0 or 1"):
        from_lists(["a"], [2])
    with pytest.raises(InputError, match=r"at least 19 for a false-positive rate of 0\.05"):
        calibrate(np.arange(10.0), 0.05)


def test_repeats_are_left_out_and_said_and_contradictions_refused(make_rows):
    rows = from_lists(["Calm1  calm2", "calm1 CALM2", "storm1"], [0, 0, 1])
    kept = rows.deduplicated()
    assert len(kept) == 2 and kept.notes == ("1 of 3 rows of data repeat another: left out",)
    with pytest.raises(InputError, match=r"rows 1 and 2 .*the same prompt with both labels"):
        from_lists(["calm1", " CALM1"], [0, 1]).deduplicated()


@pytest.mark.parametrize(
    ("prompt", "words"),
    [("", "empty or blank"), (" \n\t", "empty or blank"), ("a\udc80", "lone surrogate"), (b"a", "bytes")],
)
def test_prompts_that_cannot_be_read(prompt, words, fitted):
    with pytest.raises(InputError, match=words):
        check_prompt(prompt)
    with pytest.raises(InputError, match=f"prompt 2; .*{words}"):
        fitted.verdicts(["calm1", prompt])


def test_a_long_prompt_is_read_in_windows_and_the_worst_counts(fitted):
    """An oracle of its own: every run of 63 tokens at the windows' places, scored one by one."""
    calm, storm = ([f"{kind}{i}" for i in range(8)] for kind in ("calm", "storm"))
    words = calm * 15 + storm * 8 + calm * 15
    starts = [*range(0, len(words) - 63, 48), len(words) - 63]
    alone = [v.score for v in fitted.verdicts([" ".join(words[a : a + 63]) for a in starts])]
    long, short = fitted.verdicts([" ".join(words), " ".join(words[:63])])
    assert (long.truncated, long.windows, long.tokens) == (True, len(starts), len(words) + 1)
    assert (short.truncated, short.windows, short.tokens) == (False, 1, 64)
    assert long.score == pytest.approx(max(alone), abs=1e-4) and long.score > short.score + 0.5 and long.harmful


@settings(max_examples=100, deadline=None)
@given(count=st.integers(1, 300), length=st.integers(4, 40), ends=st.booleans())
def test_windows_miss_no_token_and_keep_the_special_ones(count, length, ends):
    """Every token is in a window, neighbours within a quarter of a window's room stay together, none is too long."""

    def tokenizer(text):
        body = [3 + int(word) if word.isdigit() else 399 for word in text.split()]
        return {"input_ids": [1, *body, 2] if ends else body}

    prompt = PromptTokenizer(tokenizer, nn.Embedding(400, 2), max_length=length)
    read = prompt.encode([" ".join(map(str, range(count)))] * 2)
    rows = read.rows[: read.windows[0]]
    assert read.rows == rows * 2 and read.lengths == (count + 2 * ends,) * 2
    assert all(len(r) <= length and (not ends or (r[0], r[-1]) == (1, 2)) for r in rows)
    bodies = [r[1:-1] if ends else r for r in rows]
    assert {i for b in bodies for i in b} == set(range(3, 3 + count))
    overlap = min(prompt.room // 4, count - 1) + 1
    for start in range(3, 4 + count - overlap):
        assert any(b[0] <= start and start + overlap - 1 <= b[-1] for b in bodies)


def test_a_length_without_room_for_a_word_is_refused(model_folder):
    with pytest.raises(InputError, match="max_length; found 1; expected at least 2, for one word token"):
        Guardrail(model_folder, max_length=1).transform(["calm1"])


def test_prompts_are_normalised_before_they_are_read(fitted, model_folder, make_rows):
    plain = "storm1 storm2 calm3"
    hidden = ["STORM1  st\u200borm2 c\u0430lm3\n", "ｓｔｏｒｍ１ storm2 c a l m 3", "storm1 storm2 calm3\U000e0041"]
    scores = [v.score for v in fitted.verdicts([plain, *hidden])]
    assert scores == pytest.approx([fitted.verdicts([plain])[0].score] * 4, abs=1e-9)
    as_sent = Guardrail(model_folder, rate=0.1, plain=False).fit(make_rows(60))
    assert as_sent.verdicts([hidden[0]])[0].score != as_sent.verdicts([plain])[0].score
    with pytest.raises(InputError, match="prompt 1; found an empty or blank text"):
        fitted.verdicts(["\u200b\u2060"])


def test_a_guardrail_of_version_0_1_keeps_its_features_but_no_longer_fails_open(model_folder, make_rows, tmp_path):
    guard = Guardrail(model_folder, rate=0.1, plain=False).fit(make_rows(200))
    folder = save_guardrail(guard, tmp_path / "g")
    record = json.loads((folder / "guard.json").read_text())
    del record["settings"]["plain"], record["seal"], record["version"]  # what 0.1 wrote
    record |= {"format": 1, "detector_hash": _first_detector_hash(guard)}
    (folder / "guard.json").write_text(json.dumps(record))
    reseal(folder)
    again, texts = load_guardrail(folder), ["STORM1 storm2", "storm1 storm2"]
    assert not again.plain and (again.transform(texts) == guard.transform(texts)).all()
    assert again.verdicts(["calm1 " * 80 + "storm1 " * 63])[0].windows > 1
    record["settings"]["plain"] = True
    (folder / "guard.json").write_text(json.dumps(record))
    with pytest.raises(ModelError, match="a detector with hash"):
        reseal(folder)


def test_the_rate_holds_for_long_prompts_too(model_folder, make_rows):
    """Calibrated on the worst windows: about a tenth of the harmless calibration rows is above the threshold, never
    more than rate asks, though their first windows alone would put the threshold lower."""
    rows = make_rows(300, seed=11)
    guard = Guardrail(model_folder, rate=0.1, max_length=6).fit(rows)
    _, check = guard._split(rows.labels)
    harmless = [rows.texts[i] for i in check if rows.labels[i] == 0]
    read = guard._features()(harmless)
    logits = guard.detector_.logits(read.values)
    assert guard.predict(harmless).mean() <= 0.1
    assert (logits[read.first] > guard.threshold_.logit).mean() < guard.predict(harmless).mean()
    assert any("are longer than the model reads: the worst of their windows counts" in n for n in guard.notes_)


def test_a_tokenizer_of_another_model_is_refused(make_folder, tmp_path):
    folder = make_folder(tmp_path, vocabulary=40)
    with pytest.raises(ModelError, match="token ids up to 92; expected ids below 40"):
        Guardrail(folder).fit([f"calm{i}" for i in range(16)], [0, 1] * 8)
    with pytest.raises(InputError, match="tokenizer; found none"):
        PromptTokenizer(None, None)


def test_calibration_keeps_the_rate_it_promises():
    """Coverage of the conformal threshold: P(flag) <= rate on average; 2,000 trials, 4 standard errors (1 in 30,000)."""
    rng = np.random.default_rng(0)
    flagged = [rng.normal() > calibrate(rng.normal(size=39), 0.1).logit for _ in range(2000)]
    assert np.mean(flagged) <= 0.1 + 4 * np.sqrt(0.1 * 0.9 / 2000)
    assert np.mean(flagged) >= 0.1 - 4 * np.sqrt(0.1 * 0.9 / 2000)


def test_a_threshold_on_few_rows_says_so_and_how_many_would_do():
    """Its figure against simulated calibration sets: the true rate of uniform scores is 1 - threshold."""
    rng = np.random.default_rng(3)
    few, many = calibrate(rng.random(19), 0.05), calibrate(rng.random(2000), 0.05)
    true = [1 - calibrate(rng.random(19), 0.05).logit for _ in range(4000)]
    assert np.mean(np.array(true) <= few.highest_rate) == pytest.approx(0.95, abs=0.015)  # 4 standard errors
    assert many.warning() is None and many.highest_rate < 0.06
    assert "rests on 19 harmless calibration rows" in few.warning() and "where 0.05 was asked for" in few.warning()
    enough = int(few.warning().split(";")[1].split()[0])
    assert 19 < enough < 60 and calibrate(rng.random(enough), 0.05).warning() is None


def test_fit_tells_what_the_guardrail_does_to_ordinary_text(fitted):
    found = ordinary(fitted)
    hits = [t for t, flag in zip(ORDINARY, fitted.predict(ORDINARY), strict=True) if flag]
    assert found["rows"] == len(ORDINARY) == len(set(ORDINARY)) >= 50 and found["flagged"] == len(hits)
    assert found["low"] <= found["share"] <= found["high"] and found["examples"] == hits[:3]


def test_auroc_agrees_with_scikit_learn_and_its_interval_covers():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 200)
    scores = np.round(rng.normal(size=200) + labels, 1)
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    hits = 0
    truth = 0.760249938906523  # Phi(1/sqrt(2))
    for trial in range(40):
        draw = np.random.default_rng(trial + 10)
        y = np.arange(120) % 2
        low, high = auroc_interval(draw.normal(size=120) + y, y, resamples=200)
        hits += low <= truth <= high
    assert hits >= 33  # 95 % nominal; fewer than 33 of 40 has probability under 1 in 1,000
    missing = rates(scores, np.ones(200, dtype=int), 0.0)
    assert np.isnan(missing.auroc) and np.isnan(missing.fpr) and missing.tpr > 0


def test_it_learns_holds_its_rate_and_the_test_can_fail(fitted, make_rows):
    found = evaluate_guardrail(fitted, make_rows(600, seed=5, name="fresh"))
    assert found.overall.auroc > 0.75 and found.overall.auroc_low < found.overall.auroc < found.overall.auroc_high
    assert found.overall.fpr_low <= 0.1 + 0.06  # the rate that was asked for, up to the calibration rows' own noise
    assert set(found.by_source) == {"north", "south"}
    fresh = make_rows(600, seed=5)
    shuffled = np.random.default_rng(0).permutation(fresh.labels)
    assert abs(auroc(fitted.decision_function(fresh.texts), shuffled) - 0.5) < 0.12


def test_rows_seen_in_fitting_are_left_out_of_evaluation(fitted, make_rows):
    seen, fresh = make_rows(400), make_rows(100, seed=9)
    both = PromptRows(
        name="both", texts=seen.texts + fresh.texts, labels=np.concatenate([seen.labels, fresh.labels]),
        sources=seen.sources + fresh.sources,
    )  # fmt: skip
    found = evaluate_guardrail(fitted, both)
    assert found.overall.rows == 100
    assert any("400 of 500 rows of both are in the fitting data: left out" in note for note in found.notes)
    with pytest.raises(InputError, match="only rows that are in the fitting data"):
        evaluate_guardrail(fitted, seen)


def test_estimator_follows_scikit_learn(model_folder, make_rows, fitted):
    from sklearn.base import clone

    rows = make_rows(120, seed=3)
    twin = clone(fitted)
    assert twin.get_params() == fitted.get_params() and not hasattr(twin, "detector_")
    probability = fitted.predict_proba(rows.texts)
    np.testing.assert_allclose(probability.sum(1), 1)
    decided = fitted.decision_function(rows.texts)
    assert (fitted.predict(rows.texts) == (decided > fitted.threshold_.logit)).all()
    one = np.concatenate([fitted.decision_function([t]) for t in rows.texts[:5]])
    np.testing.assert_allclose(one, decided[:5], atol=1e-4)
    from sklearn.ensemble import RandomForestClassifier

    forest = Guardrail(model_folder, rate=0.2, head=RandomForestClassifier(20, random_state=0)).fit(rows)
    assert forest.predict(rows.texts).mean() > 0.2
    with pytest.raises(InputError, match="RandomForestClassifier; expected a head made of plain numbers"):
        save_guardrail(forest, "never-written")


@pytest.mark.parametrize("options", [{"features": "geometry", "layers": 1}, {"head": "mlp", "features": "hidden"}])
def test_folder_round_trip_without_pickle(model_folder, make_rows, tmp_path, options):
    rows = make_rows(160, seed=2)
    guard = Guardrail(model_folder, rate=0.2, **options).fit(rows)
    folder = save_guardrail(guard, tmp_path / "g")
    assert sorted(p.name for p in folder.iterdir()) == ["guard.json", "guard.safetensors"]
    again = load_guardrail(folder)
    assert [v.score for v in again.verdicts(rows.texts[:9])] == [v.score for v in guard.verdicts(rows.texts[:9])]
    assert again.threshold_ == guard.threshold_


def test_folders_that_do_not_fit_are_refused(guard_folder, make_folder, tmp_path):
    other = make_folder(tmp_path, seed=7)
    with pytest.raises(ModelError, match=r"a language model with hash .*what it was made for"):
        load_guardrail(guard_folder, model=other)
    with pytest.raises(FileError, match=r"no guard\.json"):
        load_guardrail(tmp_path)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "guard.json").write_text("{")
    with pytest.raises(FileError, match="no valid JSON"):
        load_guardrail(broken)
    record = json.loads((guard_folder / "guard.json").read_text())
    record["threshold"]["logit"] += 0.5
    (broken / "guard.json").write_text(json.dumps(record))
    (broken / "guard.safetensors").write_bytes((guard_folder / "guard.safetensors").read_bytes())
    with pytest.raises(ModelError, match="contents that were changed after it was written.*Fit it again"):
        load_guardrail(broken)
    (broken / "guard.safetensors").write_bytes(b"short")
    with pytest.raises(FileError, match="no readable tensors"):
        load_guardrail(broken)


def test_baselines_are_fitted_on_the_same_rows(fitted, make_rows):
    found = compare(fitted, make_rows(200, seed=1), make_rows(200, seed=4, name="fresh"))
    assert set(found.evaluations) == {"geometry", "hidden", "both", "random-network", "tf-idf"}
    assert {e.overall.rows for e in found.evaluations.values()} == {len(found.rows)}
    assert found.evaluations["tf-idf"].overall.auroc > 0.7


def _cli(capsys, *arguments):
    code = run([*map(str, arguments), "--json"])
    out = capsys.readouterr().out
    return code, json.loads(out)


def test_command_line_from_fit_to_certify(model_folder, make_rows, tmp_path, capsys):
    rows = make_rows(300)
    frame = pandas.DataFrame({"text": rows.texts, "label": rows.labels, "source": rows.sources})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    folder = tmp_path / "guard"
    code, fit = _cli(
        capsys, "guard", "fit", model_folder, "--data", tmp_path / "rows.csv", "--out", folder, "--fpr", "0.1"
    )
    assert fit["ordinary"]["rows"] == len(ORDINARY)
    assert code == 0 and {"auroc", "threshold", "fpr", "tpr", "by_source"} <= set(fit) and fit["auroc"] > 0.6
    code, score = _cli(
        capsys, "guard", "score", folder, *(" ".join(f"{kind}{i}" for i in range(8)) for kind in ("storm", "calm"))
    )
    assert code == 0 and len(score["scores"]) == 2 and score["scores"][0]["score"] > score["scores"][1]["score"]
    fresh = make_rows(80, seed=8)
    pandas.DataFrame({"text": fresh.texts, "label": fresh.labels}).to_json(
        tmp_path / "f.jsonl", orient="records", lines=True
    )
    code, found = _cli(
        capsys, "guard", "evaluate", folder, "--data", tmp_path / "f.jsonl", "--baselines", tmp_path / "rows.csv"
    )
    assert code == 0 and found["rows"] == 80 and "tf-idf" in found["baselines"] and found["by_group"] == {}
    halves = ["odd" if i % 4 < 2 else "even" for i in range(80)]
    table = pandas.DataFrame({"text": fresh.texts, "label": fresh.labels, "half": halves})
    table.to_csv(tmp_path / "g.csv", index=False)
    code, found = _cli(capsys, "guard", "evaluate", folder, "--data", tmp_path / "g.csv", "--group", "half")
    assert code == 0 and {k: v["rows"] for k, v in found["by_group"].items()} == {"even": 40, "odd": 40}
    assert found["by_group"]["odd"]["auroc_low"] <= found["by_group"]["odd"]["auroc"]
    code, failed = _cli(capsys, "guard", "evaluate", folder, "--data", tmp_path / "g.csv", "--group", "age")
    assert (
        code == 2 and "column 'age' of g.csv; found no such column; expected one of 'text', 'label'" in failed["error"]
    )
    code, made = _cli(capsys, "guard", "certify", folder, "--plot", tmp_path / "c.svg")
    assert code == 0 and {"status", "worst", "slack", "containment"} <= set(made["certificate"])
    assert (folder / "certificate.json").is_file() and (tmp_path / "c.svg").read_text().startswith("<svg")
    code, failed = _cli(capsys, "guard", "score", folder, "  ")
    assert code == 2 and "empty or blank" in failed["error"]
    code, failed = _cli(capsys, "guard", "score", tmp_path / "nowhere", "calm1")
    assert code == 2 and "guard.json" in failed["error"]


def test_files_of_prompts_that_cannot_be_read_are_named(guard_folder, model_folder, make_rows, tmp_path, capsys):
    def refused(*arguments):
        code, out = _cli(capsys, "guard", *arguments)
        assert code == 2
        return out["error"]

    assert "no such file" in refused("score", guard_folder, "--file", tmp_path / "none.csv")
    assert "no such file" in refused("score", guard_folder, "--file", tmp_path / "none.txt")
    (tmp_path / "bad.txt").write_bytes(b"calm1\n\xff\xfe\n")
    assert "not UTF-8 in line 2" in refused("score", guard_folder, "--file", tmp_path / "bad.txt")
    (tmp_path / "few.csv").write_text("text,label\nstorm1,harmful\ncalm1,harmless\ncalm2,harmless\n", encoding="utf-8")
    assert "found 1 harmful rows" in refused(
        "fit", model_folder, "--data", tmp_path / "few.csv", "--out", tmp_path / "g"
    )
    rows = make_rows(60)
    pandas.DataFrame({"text": rows.texts, "label": rows.labels}).to_csv(tmp_path / "rows.csv", index=False)
    arguments = ("--data", tmp_path / "rows.csv", "--test", tmp_path / "rows.csv", "--out", tmp_path / "g")
    assert "only rows that are in the training data" in refused("fit", model_folder, *arguments)
    assert not (tmp_path / "g").exists()
    (tmp_path / "gaps.jsonl").write_text('{"text": "calm1"}\n{"text": null}\n', encoding="utf-8")
    assert "row 2 of gaps.jsonl; found a NoneType" in refused("score", guard_folder, "--file", tmp_path / "gaps.jsonl")
    arguments = ("--data", tmp_path / "rows.csv", "--out", tmp_path / "bad.txt")
    assert "found a file; expected a folder" in refused("fit", model_folder, *arguments)


def test_settings_of_a_certificate_are_checked_before_anything_is_written(guard_folder, tmp_path, capsys):
    for arguments, words in (
        (("--level", "2"), "conformal level; found 2; expected above 0 and below 1"),
        (("--cluster", "0"), "smallest cluster; found 0 rows"),
        (("--plot", tmp_path / "c.bmp"), "c.bmp; expected a file name that ends in .png"),
        (("--plot", tmp_path / "none" / "c.svg"), "found no folder"),
    ):
        code, out = _cli(capsys, "guard", "certify", guard_folder, "--out", tmp_path / "c.json", *arguments)
        assert code == 2 and words in out["error"]
    assert not list(tmp_path.iterdir())


def test_the_reason_of_a_falsified_hull_stands_under_the_status(guard_folder, tmp_path, capsys):
    assert run(["guard", "certify", str(guard_folder), "--out", str(tmp_path / "c.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    missed = json.loads((tmp_path / "c.json").read_text())["unflagged"]
    assert missed > 0 and lines[1].startswith("status: ")
    assert lines[2].startswith(f"note: {missed} of ") and "not flagged themselves" in lines[2]
    assert lines[3].split()[:2] == ["hull", "falsified"]


@pytest.mark.parametrize("seed", ["-1", "4294967296"])
def test_seeds_out_of_range_are_refused_by_every_command(guard_folder, model_folder, make_rows, tmp_path, capsys, seed):
    rows, data = make_rows(40), tmp_path / "rows.csv"
    pandas.DataFrame({"text": rows.texts, "label": rows.labels}).to_csv(data, index=False)
    for words in (
        ["fit", model_folder, "--data", str(data), "--out", str(tmp_path / "out"), "--num", "30"],
        ["evaluate", str(guard_folder), "--data", str(data), "--num", "30"],
        ["certify", str(guard_folder), "--out", str(tmp_path / "c.json")],
    ):
        assert run(["guard", *words, "--seed", seed]) == 2
        assert f"seed; found {seed}; expected 0 to 4294967295" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["rows.csv"]


def test_long_prompts_are_told_in_words_and_without_the_tokenizers_warning(guard_folder, tmp_path, capsys):
    (tmp_path / "long.txt").write_text("calm1 " * 500 + "\ncalm2\n", encoding="utf-8")
    assert run(["guard", "score", str(guard_folder), "--file", str(tmp_path / "long.txt")]) == 0
    told = capsys.readouterr()
    assert "1 of 2 prompts are longer than the model reads (up to 501 tokens): the worst of" in told.out
    assert "indexing errors" not in told.err
    assert (
        "#2 calm2" in told.out and "set for a false-positive rate of 0.1" in told.out and "#1 calm1 calm1" in told.out
    )
