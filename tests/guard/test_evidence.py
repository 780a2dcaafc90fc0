"""What stands behind a verdict: nearest training prompts with their tokens; its files are data."""

import json

import numpy as np
import pytest
import torch

from cutaway.errors import FileError, ModelError
from cutaway.guard import load_guardrail, save_guardrail
from cutaway.guard.evidence import TokenVectors, keep_evidence
from cutaway.guard.evidence_file import read_evidence, write_evidence
from cutaway.guard.rows import from_lists


@pytest.fixture(scope="module")
def kept(fitted, make_rows):
    return keep_evidence(fitted, make_rows(120), make_rows(80, seed=5), most=90)


@pytest.fixture
def folder(fitted, kept, tmp_path):
    return write_evidence(kept, fitted, save_guardrail(fitted, tmp_path / "g"))


def test_token_vectors_are_unit_states_without_special_tokens(fitted):
    reader, text = TokenVectors(fitted), "storm1 calm2 plain3"
    (found, other), (names, _) = reader([text, "calm1"])
    loaded = fitted.loaded()
    with torch.no_grad():  # a naive transcription: begin-of-text first, one text alone
        states = loaded.model.model(torch.tensor([[1, *loaded.tokenizer(text)["input_ids"]]])).last_hidden_state[0, 1:]
    np.testing.assert_allclose(found, (states / states.norm(dim=1, keepdim=True)).numpy(), atol=2e-3)
    assert names == ["storm1", "calm2", "plain3"] == reader.names(text) and other.shape == (1, 32)


def test_a_kept_prompt_is_nearest_to_itself_token_by_token(fitted, kept):
    reader = TokenVectors(fitted)
    for k in (0, 17, 60):
        found, by_words = kept.nearest(reader, kept.texts[k], count=3)
        assert found[0].text == kept.texts[k] == by_words[0].text and found[0].score == pytest.approx(1, abs=2e-3)
        assert all(m.token == m.match and m.score > 0.99 for m in found[0].tokens)
        assert [n.score for n in found] == sorted((n.score for n in found), reverse=True) and len(found) == 3
        assert found[0].label == ("harmful" if kept.labels[k] else "harmless")


def test_labels_share_the_places_and_agreement_is_counted(fitted, kept, make_rows):
    assert len(kept) == 90 and kept.labels.sum() == 45
    told = kept.agreement
    assert told.rows == 80 and told.low < told.share < told.high and told.agree > 0.7 * 80 and told.words > 0.6 * 80
    assert told.chance == pytest.approx(0.5)
    flipped = from_lists(make_rows(80, seed=5).texts, 1 - make_rows(80, seed=5).labels)
    again = keep_evidence(fitted, make_rows(120), flipped, most=90).agreement
    assert again.agree == 80 - told.agree  # the same neighbours, every label turned


def test_files_come_back_as_they_were_and_anything_changed_is_refused(folder, fitted, kept):
    again = read_evidence(folder, load_guardrail(folder))
    assert again.texts == kept.texts and again.agreement == kept.agreement
    assert all((a == b).all() for a, b in zip(again.vectors, kept.vectors, strict=True))
    path = folder / "evidence.json"
    record = json.loads(path.read_text())
    record["labels"][0] = 1 - record["labels"][0]
    path.write_text(json.dumps(record))
    with pytest.raises(ModelError, match="contents that were changed"):
        read_evidence(folder, fitted)
    path.write_text(json.dumps(record | {"labels": ["os.system"]}))
    with pytest.raises(FileError, match="no valid record of kept prompts"):
        read_evidence(folder, fitted)
    path.unlink()
    with pytest.raises(FileError, match="no evidence.json.*--keep-prompts 1000"):
        read_evidence(folder, fitted)


def test_another_models_vectors_are_refused(kept, fitted, make_folder, tmp_path, make_rows):
    from cutaway.guard import Guardrail

    other = Guardrail(make_folder(tmp_path, seed=3), rate=0.1).fit(make_rows(100))
    write_evidence(kept, fitted, tmp_path / "g")
    with pytest.raises(ModelError, match="token vectors of another language model"):
        read_evidence(tmp_path / "g", other)


@pytest.fixture
def app(fitted, kept):
    pytest.importorskip("fastapi", reason="needs the extra serve")
    from cutaway.guard.evidence import Explainer
    from cutaway.guard.service.app import create_app
    from cutaway.guard.service.settings import ServiceSettings
    from cutaway.guard.service.workers import ThreadWorker

    def make(explainer=None, **settings):
        worker = ThreadWorker(fitted, explainer or Explainer(fitted, kept))
        return create_app(worker, settings=ServiceSettings(explain=True, **settings), certificate="unknown")

    return make


def _asked(app, work):
    testclient = pytest.importorskip("fastapi.testclient", reason="needs the extra dev")
    with testclient.TestClient(app) as client:
        return work(client)


def test_the_service_explains_only_where_it_was_asked_to(app, fitted, kept):
    from cutaway.guard.service.app import create_app
    from cutaway.guard.service.workers import ThreadWorker

    text = kept.texts[3]
    answer = _asked(app(), lambda client: client.post("/v1/explain", json={"prompt": text})).json()
    assert answer["evidence"][0]["text"] == text and answer["by_words"][0]["text"] == text
    assert answer["score"] == fitted.verdicts([text])[0].score and answer["certificate"] == "unknown"
    assert {"id", "threshold", "seconds", "agreement"} <= set(answer)

    def without(client):
        assert client.post("/v1/explain", json={"prompt": text}).status_code == 404
        page, docs = client.get("/").text, client.get("/docs").text
        assert "EXPLAIN = false" in page and "/v1/explain" not in docs and "/v1/moderations" in docs
        return client.get("/openapi.json").json()["paths"]

    assert "/v1/explain" not in _asked(create_app(ThreadWorker(fitted)), without)


def test_the_limits_hold_for_explanations_too(app, monkeypatch):
    import threading

    monkeypatch.setenv("CUTAWAY_GUARD_KEY", "letmein")
    free = threading.Event()

    def slow(_text):
        free.wait(120)
        raise RuntimeError("the prompt is secret")

    def work(client):
        key = {"x-api-key": "letmein"}
        post = lambda body, **more: client.post("/v1/explain", content=body, **more).status_code  # noqa: E731
        assert post('{"prompt": "storm1"}') == 401
        assert post('{"prompt": "' + "a " * 300 + '"}', headers=key) == 413
        assert post("x", headers=key) == 400 and post('{"prompt": " "}', headers=key) == 422
        assert post('{"prompt": "storm1"}', headers=key) == 504  # the worker does not answer
        assert post('{"prompt": "storm1"}', headers=key) == 504  # waits behind it
        assert post('{"prompt": "storm1"}', headers=key) == 503  # two prompts wait
        free.set()
        assert client.get("/health").status_code == 200

    _asked(app(slow, max_chars=500, queue=2, request_seconds=0.2), work)


def test_failures_repeat_no_prompt(app, caplog):
    def fail(text):
        raise RuntimeError(text)

    reply = _asked(app(fail), lambda client: client.post("/v1/explain", json={"prompt": "storm1 secret"}))
    assert reply.status_code == 500 and "secret" not in reply.text and "secret" not in caplog.text


@pytest.mark.slow
def test_a_worker_of_its_own_explains_as_the_server_does(folder, fitted, kept):
    import asyncio

    from cutaway.guard.evidence import Explainer
    from cutaway.guard.service.metrics import Metrics
    from cutaway.guard.service.workers import ProcessWorkers

    async def run():
        workers = ProcessWorkers(folder, 1, Metrics(), explain=True)
        try:
            await workers.start()
            return await workers.explain("storm1 calm2")
        finally:
            workers.close()

    found, want = asyncio.run(run()), Explainer(fitted, kept)("storm1 calm2")
    assert [n["text"] for n in found["evidence"]] == [n["text"] for n in want["evidence"]]
    assert found["agreement"] == want["agreement"] and found["by_words"] == want["by_words"]
