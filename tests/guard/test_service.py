"""The service on loopback: verdicts, limits, bad input, key, metrics, batching, killed workers, graceful stop."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")
httpx = pytest.importorskip("httpx", reason="needs the extra dev")

from cutaway.errors import InputError, ModelError  # noqa: E402
from cutaway.guard import certificate_file  # noqa: E402
from cutaway.guard.service.app import create_app  # noqa: E402
from cutaway.guard.service.metrics import Metrics  # noqa: E402
from cutaway.guard.service.run import _bind, build_service  # noqa: E402
from cutaway.guard.service.settings import ServiceSettings  # noqa: E402
from cutaway.guard.service.workers import ProcessWorkers, ThreadWorker  # noqa: E402


@contextlib.asynccontextmanager
async def client_of(app):
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://guard") as client:
            yield client


def ask(app, work):
    async def run():
        async with client_of(app) as client:
            return await work(client)

    return asyncio.run(run())


@pytest.fixture
def app(fitted):
    settings = ServiceSettings(max_chars=500, max_prompts=8, max_pieces=8, max_bytes=4000, body_seconds=0.3)
    return create_app(ThreadWorker(fitted), settings=settings, certificate="unknown")


def test_single_batch_and_stream_agree_with_the_guardrail(app, fitted):
    texts = ["storm1 storm2 storm3", "calm1 calm2", "storm1 calm1 " * 5]

    async def work(client):
        single = [(await client.post("/v1/check", json={"prompt": t})).json() for t in texts]
        batch = (await client.post("/v1/batch", json={"prompts": texts})).json()["verdicts"]
        lines = "\n".join(json.dumps({"text": t}) for t in ("storm1 ", "storm2 ", "storm3"))
        stream = await client.post("/v1/stream", content=lines)
        return single, batch, [json.loads(line) for line in stream.text.splitlines()]

    single, batch, stream = ask(app, work)
    for text, one, other in zip(texts, single, batch):
        want = fitted.verdicts([text])[0]
        for got in (one, other):
            assert got["score"] == pytest.approx(want.score, abs=1e-4) and got["harmful"] == want.harmful
            assert got["threshold"] == want.threshold and got["certificate"] == "unknown" and got["seconds"] > 0
    assert [s["characters"] for s in stream] == [7, 14, 20]
    assert stream[-1]["score"] == pytest.approx(single[0]["score"], abs=1e-4)


BAD = [
    (b"", 400), (b"{", 400), (b"\xff\xfe", 400), (b"[1]", 422), (b"{}", 422), (b'{"prompt": 3}', 422),
    (b'{"prompt": "  "}', 422), (b'{"prompt": "\\ud800"}', 422), (b'{"prompt": null}', 422),
    (b'{"prompt": "' + b"a" * 600 + b'"}', 413), (b'{"prompt": "' + b"a" * 6000 + b'"}', 413), (b"[" * 3900, 400),
]  # fmt: skip


def test_malformed_requests_are_refused_and_good_ones_still_answered(app):
    async def work(client):
        good, bad = [], []
        for k in range(1000):
            body, want = BAD[k % len(BAD)]
            reply = await client.post("/v1/check", content=body)
            bad.append((reply.status_code, want, reply.json()["error"]))
            if k % 50 == 0:
                good.append((await client.post("/v1/check", json={"prompt": "calm1"})).status_code)
        lists = [await client.post("/v1/batch", json={"prompts": p}) for p in ([], "a", ["a"] * 9, ["a", " "])]
        return good, bad, [r.status_code for r in lists], app.state.service.batcher.waiting

    good, bad, lists, waiting = ask(app, work)
    assert all(got == want for got, want, _ in bad) and good == [200] * 20 and waiting == 0
    assert lists == [422, 422, 413, 422] and not any("aaaa" in reason for _, _, reason in bad)


def test_slow_and_chunked_bodies(app):
    async def slow():
        yield b'{"prompt":'
        await asyncio.sleep(1)
        yield b'"calm1"}'

    async def long():
        for _ in range(100):
            yield b"a" * 100

    async def work(client):
        return [(await client.post("/v1/check", content=body())).status_code for body in (slow, long)]

    assert ask(app, work) == [408, 413]


def test_stream_refuses_inside_the_stream(app):
    async def work(client):
        bodies = [b'{"text": "calm1"}\n{"t": 1}\n', b'{"text": "a"}\n' * 9, b"\xff\n"]
        return [[json.loads(x) for x in (await client.post("/v1/stream", content=b)).text.splitlines()] for b in bodies]

    first, many, broken = ask(app, work)
    assert "harmful" in first[0] and first[1]["status"] == 422
    assert many[-1]["status"] == 413 and len(many) == 9 and broken[-1]["status"] == 400


def test_a_stream_of_single_tokens_is_answered_to_its_end(fitted):
    """More pieces than a batch may hold, for longer than a body may take; a pause too long ends it."""
    settings = ServiceSettings(max_prompts=8, body_seconds=2, stream_seconds=60)
    app = create_app(ThreadWorker(fitted), settings=settings, certificate="unknown")

    async def typed(count: int, pause: float):
        for _ in range(count):
            yield b'{"text": "calm1 "}\n'
            await asyncio.sleep(pause)

    async def work(client):
        replies = [await client.post("/v1/stream", content=typed(*how)) for how in ((80, 0.03), (2, 3600))]
        return [[json.loads(x) for x in reply.text.splitlines()] for reply in replies]

    whole, paused = ask(app, work)
    assert len(whole) == 80 and whole[-1]["characters"] == 480
    assert paused[-1] == {
        "error": "the body has to arrive within 60 seconds, with no pause of 2 seconds", "status": 408
    }  # fmt: skip
    with pytest.raises(InputError, match="setting max_pieces; found 0; expected above 0"):
        ServiceSettings(max_pieces=0)


def test_key_is_asked_for_and_compared(fitted, monkeypatch):
    monkeypatch.setenv("CUTAWAY_GUARD_KEY", "s3cret-ключ")
    app = create_app(ThreadWorker(fitted))

    async def work(client):
        body = {"json": {"prompt": "calm1"}}
        good = "s3cret-ключ".encode()
        headers = [{}, {"x-api-key": "wrong"}, {"authorization": "Bearer x"}]
        refused = [(await client.post("/v1/check", headers=h, **body)).status_code for h in headers]
        right = (await client.post("/v1/check", headers={b"x-api-key": good}, **body)).status_code
        return refused, right, (await client.get("/health")).status_code

    refused, right, health = ask(app, work)
    assert refused == [401, 401, 401] and right == 200 and health == 200


def test_health_readiness_metrics_page_and_log(app, caplog):
    async def work(client):
        with caplog.at_level(logging.INFO, logger="cutaway.guard"):
            await client.post("/v1/check", json={"prompt": "storm1 secretword"})
            await client.post("/v1/check", content=b"{")
        pages = [await client.get(p) for p in ("/health", "/ready", "/metrics", "/")]
        return pages

    health, ready, metrics, page = ask(app, work)
    assert health.json() == {"status": "ok"} and ready.json() == {"ready": True}
    assert 'guard_requests_total{code="200",path="/v1/check"} 1.0' in metrics.text
    assert 'guard_requests_total{code="400",path="/v1/check"} 1.0' in metrics.text
    assert 'guard_request_seconds_bucket{le="+Inf"} 2' in metrics.text and "guard_prompts_waiting 0" in metrics.text
    assert "<textarea" in page.text and "default-src 'none'" in page.headers["content-security-policy"]
    assert "secretword" not in caplog.text + metrics.text and "/v1/check 200" in caplog.text
    assert app.state.service.ready is False


def test_prompts_are_logged_only_when_asked(fitted, caplog):
    app = create_app(ThreadWorker(fitted), settings=ServiceSettings(log_prompts=True))

    async def work(client):
        with caplog.at_level(logging.INFO, logger="cutaway.guard"):
            await client.post("/v1/check", json={"prompt": "storm1 secretword"})

    ask(app, work)
    assert "secretword" in caplog.text


class Slow:
    """Workers that take their time and remember their batches."""

    parallel = loaded = 1

    def __init__(self, guard, seconds):
        self.guard, self.seconds, self.batches = guard, seconds, []

    async def start(self):
        await self.score(["calm1"])

    async def score(self, texts):
        self.batches.append(len(texts))
        await asyncio.sleep(self.seconds)
        return self.guard.verdicts(texts)

    def close(self):
        self.closed = True


def test_waiting_prompts_share_a_batch_and_a_full_queue_says_so(fitted):
    workers = Slow(fitted, 0.05)
    app = create_app(workers, settings=ServiceSettings(batch_size=8, queue=10))

    async def work(client):
        replies = await asyncio.gather(*(client.post("/v1/check", json={"prompt": f"calm{i}"}) for i in range(14)))
        return [r.status_code for r in replies], [r.headers.get("retry-after") for r in replies if r.status_code == 503]

    codes, retry = ask(app, work)
    assert codes.count(200) == 10 and codes.count(503) == 4 and retry == ["1"] * 4
    assert max(workers.batches) > 1 and sum(workers.batches) == 11 and workers.closed


def test_a_late_answer_is_a_timeout_and_frees_the_queue(fitted):
    app = create_app(Slow(fitted, 0.3), settings=ServiceSettings(request_seconds=0.05))

    async def work(client):
        late = (await client.post("/v1/check", json={"prompt": "calm1"})).status_code
        await asyncio.sleep(0.6)
        return late, app.state.service.batcher.waiting

    assert ask(app, work) == (504, 0)


def test_stopping_answers_what_was_accepted(fitted):
    workers = Slow(fitted, 0.1)
    app = create_app(workers, settings=ServiceSettings(batch_size=2))

    async def run():
        async with app.router.lifespan_context(app):
            service = app.state.service
            tasks = [asyncio.create_task(service.verdicts([f"calm{i}"], 0.0, "/v1/check", None)) for i in range(6)]
            await asyncio.sleep(0.01)
        return await asyncio.gather(*tasks)

    assert len(asyncio.run(run())) == 6


@pytest.mark.slow
def test_a_killed_worker_loses_no_prompt(guard_folder, fitted):
    metrics = Metrics()
    workers = ProcessWorkers(guard_folder, 1, metrics)
    app = create_app(workers, metrics=metrics)

    async def work(client):
        first = await client.post("/v1/check", json={"prompt": "storm1 storm2"})
        asking = [asyncio.create_task(client.post("/v1/check", json={"prompt": f"storm{i}"})) for i in range(5)]
        os.kill(workers.processes[0].process.pid, signal.SIGKILL)
        return first, await asyncio.gather(*asking)

    first, replies = ask(app, work)
    assert first.json()["score"] == pytest.approx(fitted.verdicts(["storm1 storm2"])[0].score, abs=1e-4)
    assert [r.status_code for r in replies] == [200] * 5
    assert metrics.value("guard_worker_restarts_total") >= 1
    assert not any(p.process.is_alive() for p in workers.processes)


def test_a_certificate_of_another_guardrail_stops_the_start(guard_folder, fitted, tmp_path):
    import dataclasses

    made = certificate_file.certify_guardrail(fitted)
    good = certificate_file.write(made, tmp_path / "good.json")
    other = certificate_file.write(dataclasses.replace(made, detector_hash="1" * 64), tmp_path / "other.json")
    assert build_service(guard_folder, certificate=good).state.service.certificate == made.status.value
    with pytest.raises(ModelError, match="one for another detector"):
        build_service(guard_folder, certificate=other)


def test_settings_and_addresses_are_checked():
    with pytest.raises(InputError, match="setting queue; found 0; expected above 0"):
        ServiceSettings(queue=0)
    taken = _bind("127.0.0.1", 0)
    assert taken.proto == socket.IPPROTO_TCP  # else asyncio leaves the delay of small packets on: 40 ms a reply
    taken.listen()
    with pytest.raises(InputError, match="Choose another --port"):
        _bind("127.0.0.1", taken.getsockname()[1])
    taken.close()


@pytest.mark.slow
def test_the_command_serves_and_stops_gracefully(guard_folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", "from cutaway.cli import main; main()", "guard", "serve", str(guard_folder)]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        while process.poll() is None:  # for as long as a test may take
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/ready", timeout=20).status_code == 200:
                    break
            time.sleep(0.2)
        reply = httpx.post(f"http://127.0.0.1:{port}/v1/check", json={"prompt": "storm1"}, timeout=60)
        assert reply.status_code == 200 and "harmful" in reply.json()
        lines = b"".join(json.dumps({"text": f"storm{i} "}).encode() + b"\n" for i in range(3))
        stream = httpx.post(f"http://127.0.0.1:{port}/v1/stream", content=lines, timeout=60)
        assert len(stream.text.splitlines()) == 3
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert json.loads(out) == {"stopped": True} and process.returncode == 0
