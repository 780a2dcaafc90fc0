"""What the service's documents promise: the fields of a verdict, moderation's shape, keys that rotate, a log of decisions
without prompts, limits that hold after normalisation."""

import asyncio
import contextlib
import json
import os
import stat
import threading

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")
httpx = pytest.importorskip("httpx", reason="needs the extra dev")

from cutaway.errors import FileError, InputError  # noqa: E402
from cutaway.guard.normal import normalised  # noqa: E402
from cutaway.guard.service import keys as keys_of  # noqa: E402
from cutaway.guard.service import requests  # noqa: E402
from cutaway.guard.service.app import create_app  # noqa: E402
from cutaway.guard.service.described import VERDICT  # noqa: E402
from cutaway.guard.service.settings import ServiceSettings  # noqa: E402
from cutaway.guard.service.workers import ThreadWorker  # noqa: E402

LONG = "calm1 " * 100


@contextlib.asynccontextmanager
async def client_of(app):
    transport = httpx.ASGITransport(app=app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://g") as client:
        yield client


def ask(fitted, work, **options):
    async def run():
        async with client_of(create_app(ThreadWorker(fitted), **options)) as client:
            return await work(client)

    return asyncio.run(run())


def test_a_verdict_has_the_fields_that_are_described_and_tells_its_windows(fitted):
    async def work(client):
        return [(await client.post("/v1/check", json={"prompt": t})).json() for t in (LONG, "calm1")]

    long, short = ask(fitted, work)
    want = fitted.verdicts([LONG])[0]
    assert set(long) == set(VERDICT["properties"]) and want.windows > 1
    assert (long["windows"], long["truncated"], long["tokens"]) == (want.windows, True, 101)
    assert (short["windows"], short["truncated"]) == (1, False)


def test_prompts_are_limited_after_normalising_and_invisible_ones_refused(fitted):
    async def work(client):
        texts = ["\ufdfa" * 40, "\u200b\u2060", "a" + "\u0301" * 90]
        return [await client.post("/v1/check", json={"prompt": t}) for t in texts]

    grown, blank, marks = ask(fitted, work, settings=ServiceSettings(max_chars=100))
    assert grown.status_code == 413 and "longer than 100 characters once normalised" in grown.json()["error"]
    assert blank.status_code == 422 and "empty or blank" in blank.json()["error"] and marks.status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/check", {"prompt": LONG * 9}),
        ("/v1/batch", {"prompts": ["calm1", LONG * 9]}),
        ("/v1/moderations", {"input": LONG * 9}),
        ("/v1/stream", {"text": LONG * 9}),
    ],
)
def test_a_text_that_takes_long_to_read_holds_up_nobody_else(fitted, monkeypatch, path, body):
    """Reading waits here until others were answered: in the event loop this would never end."""
    others = threading.Event()

    def slow(text, **limits):
        if len(text) > 1000:
            assert others.wait(60), "nobody else was answered"
        return normalised(text, **limits)

    monkeypatch.setattr(requests, "normalised", slow)

    async def work(client):
        long = asyncio.create_task(client.post(path, json=body))
        await asyncio.sleep(0.05)
        short = [(await client.post("/v1/check", json={"prompt": f"calm{i}"})).status_code for i in range(3)]
        short.append((await client.get("/health")).status_code)
        others.set()
        return short, await long

    short, long = ask(fitted, work)
    assert short == [200] * 4 and long.status_code == 200 and "error" not in long.text


def test_what_waits_too_long_to_be_read_is_told_so(fitted, monkeypatch):
    others = threading.Event()
    monkeypatch.setattr(requests, "normalised", lambda text, **_: others.wait(60) and text)

    async def work(client):
        bodies = [{"prompt": LONG * 9}] * 3
        codes = [r.status_code for r in await asyncio.gather(*(client.post("/v1/check", json=b) for b in bodies))]
        others.set()
        return codes

    assert ask(fitted, work, settings=ServiceSettings(request_seconds=0.2)) == [504] * 3


def test_moderations_has_the_shape_that_its_clients_read(fitted, monkeypatch):
    monkeypatch.setenv(keys_of.KEY_VARIABLE, "secret")

    async def work(client):
        async def post(content, key="secret"):
            headers = {"authorization": f"Bearer {key}"}
            return await client.post("/v1/moderations", json=content, headers=headers)

        parts = [{"type": "text", "text": "storm1"}, {"type": "text", "text": "storm2"}]
        inputs = ["storm1 storm2", ["storm1 storm2", "calm1"], parts]
        good = [(await post({"input": i, "model": "any"})).json() for i in inputs]
        bad = [await post(c) for c in ({"input": [{"type": "image_url"}]}, {}, {"input": []})]
        return good, [*bad, await post({"input": "a"}, key="wrong")]

    good, bad = ask(fitted, work)
    want = fitted.verdicts(["storm1 storm2"])[0]
    assert [len(g["results"]) for g in good] == [1, 2, 1] and all(g["id"].startswith("modr-") for g in good)
    for result in (g["results"][0] for g in good):
        assert result["flagged"] == result["categories"]["harmful"] == want.harmful
        assert result["category_scores"]["harmful"] == pytest.approx(want.probability, abs=1e-4)
    assert [b.status_code for b in bad] == [422, 422, 422, 401]
    kinds = [b.json()["error"]["type"] for b in bad]
    assert kinds == ["invalid_request_error"] * 3 + ["authentication_error"]


def test_keys_rotate_without_a_stop_and_no_mistake_opens_the_service(fitted, tmp_path, monkeypatch):
    monkeypatch.delenv(keys_of.KEY_VARIABLE, raising=False)
    clock = iter(range(0, 10_000, 2))
    monkeypatch.setattr(keys_of.time, "monotonic", lambda: float(next(clock)))
    file = tmp_path / "keys"
    file.write_text("# of May\nold\n")
    found = keys_of.Keys(file)
    assert found.asked and found.name(b"old") and not found.name(b"# of May") and not found.name(b"")
    steps = [("old\nnew\n", True, True), ("new\n", False, True), ("", False, True), ("\n# none\n", False, True)]
    for content, old, new in steps:
        (tmp_path / "next").write_text(content)
        (tmp_path / "next").replace(file)
        assert (bool(found.name(b"old")), bool(found.name(b"new"))) == (old, new), content
    file.write_bytes(b"\xff")
    assert found.name(b"new") and not found.name(b"\xff")
    file.unlink()
    assert found.name(b"new") and not found.name(b"old")
    with pytest.raises(FileError, match="no such file"):
        keys_of.Keys(file)


def test_the_log_of_decisions_holds_every_decision_and_no_prompt(fitted, tmp_path, monkeypatch):
    monkeypatch.setenv(keys_of.KEY_VARIABLE, "secret")
    file = tmp_path / "decisions.jsonl"

    async def work(client):
        headers = {"x-api-key": "secret"}
        one = (await client.post("/v1/check", json={"prompt": "storm1 storm2"}, headers=headers)).json()
        file.rename(tmp_path / "rotated.jsonl")
        two = (await client.post("/v1/batch", json={"prompts": ["calm1", LONG]}, headers=headers)).json()
        return [one, *two["verdicts"]]

    answers = ask(fitted, work, decisions=file)
    rotated, kept = ([json.loads(x) for x in f.read_text().splitlines()] for f in (tmp_path / "rotated.jsonl", file))
    lines = rotated + kept
    assert len(rotated) == 1 and [x["id"] for x in lines] == [a["id"] for a in answers]
    assert [x["path"] for x in lines] == ["/v1/check", "/v1/batch", "/v1/batch"]
    assert [x["harmful"] for x in lines] == [a["harmful"] for a in answers] and lines[2]["windows"] > 1
    assert {x["key"] for x in lines} == {keys_of.Keys().name(b"secret")} and lines[0]["characters"] == 13
    assert not any(word in str(lines) for word in ("storm", "calm", "secret"))
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / "rotated.jsonl").stat().st_mode) == 0o600
    with pytest.raises(InputError, match="option --decisions .*expected a file that can be written"):
        create_app(ThreadWorker(fitted), decisions=tmp_path / "none" / "x")
