"""The service behind real sockets: idle and slow connections, fuzzed requests, a stop. Work and outcomes are bounded, not time."""

import asyncio
import contextlib
import gc
import json
import random
from types import SimpleNamespace

import pytest

pytest.importorskip("uvicorn", reason="needs the extra serve")

from uvicorn.protocols.http.h11_impl import H11Protocol

from cutaway.guard.service import run as run_of
from cutaway.guard.service.app import create_app
from cutaway.guard.service.metrics import Metrics
from cutaway.guard.service.run import _bind, run_service
from cutaway.guard.service.settings import ServiceSettings
from cutaway.guard.service.sockets import AT_ONCE, Waiting
from cutaway.guard.service.workers import ThreadWorker

OPEN = []


async def connect(port, **options):
    """A connection that `serving` closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
    OPEN.append(writer)
    return reader, writer


@contextlib.asynccontextmanager
async def serving(app):
    """The application on a free port, as `cutaway guard serve` runs it; yields (port, event that stops it)."""
    listener, stop = _bind("127.0.0.1", 0), asyncio.Event()
    port = listener.getsockname()[1]
    task = asyncio.create_task(run_service(app, listener, stop))
    try:
        while not task.done():  # it is ready a moment before it listens
            with contextlib.suppress(ConnectionRefusedError):
                await connect(port)
                break
            await asyncio.sleep(0.01)
        yield port, stop
    finally:
        for writer in OPEN:
            writer.transport.abort()
        OPEN.clear()
        stop.set()
        await task


async def sent(port, data, *, most=1 << 20):
    """Raw bytes in, (status, body) out; (None, b"") where the server closed without a word."""
    reader, writer = await connect(port)
    try:
        with contextlib.suppress(ConnectionError):
            writer.write(data)
            await writer.drain()
        return await answer_of(reader, most)
    finally:
        writer.transport.abort()


async def answer_of(reader, most=1 << 20):
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split()[1])
        length = next((int(x.split(":")[1]) for x in head.split("\r\n") if x.startswith("content-length")), None)
        return status, await (reader.readexactly(length) if length is not None else reader.read(most))
    return None, b""


def post(path, body, *headers):
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def check(text="calm1"):
    return post("/v1/check", json.dumps({"prompt": text}).encode())


HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


async def crowd(port, count):
    """Connections that say nothing, send half their headers, or half a body."""
    halves = [b"", b"POST /v1/check HTTP/1.1\r\nHost: x\r\nX-A: ", b"G", post("/v1/check", b"x" * 100)[:-50]]
    streams = []
    for k in range(count):
        reader, writer = await connect(port)
        writer.write(halves[k % 4])
        streams.append((reader, writer))
    return streams


def test_a_crowd_that_waits_takes_nothing_from_requests_and_is_bounded(fitted):
    app = create_app(ThreadWorker(fitted), settings=ServiceSettings(sockets=40, header_seconds=60, body_seconds=60))
    metrics = app.state.service.metrics

    async def work():
        async with serving(app) as (port, _):
            await crowd(port, 300)
            got = [await sent(port, data) for data in [check(), HEALTH] * 5]
            waiting = metrics.value("guard_sockets_waiting")
            return got, waiting

    got, waiting = asyncio.run(work())
    assert [status for status, _ in got] == [200] * 10
    assert 0 < waiting <= 40 and metrics.value("guard_sockets_closed_total", reason="limit") >= 260


def test_headers_have_a_deadline_that_trickling_does_not_move(fitted):
    app = create_app(ThreadWorker(fitted), settings=ServiceSettings(header_seconds=1.5, body_seconds=1.5))

    async def trickle(reader, writer):
        ended = asyncio.ensure_future(reader.read())
        for _ in range(500):  # far beyond the deadline on any machine
            if ended.done():
                break
            writer.write(b"a")
            await asyncio.sleep(0.05)
        return await asyncio.wait_for(ended, 60)

    async def work():
        async with serving(app) as (port, _):
            silent, header, letter, body = await crowd(port, 4)
            ends = await asyncio.gather(*(trickle(*s) for s in (header, letter)), silent[0].read(), body[0].read())
            kept, writer = await connect(port)
            writer.write(HEALTH)
            first = await answer_of(kept)
            return ends, first, await kept.read()

    ends, first, rest = asyncio.run(work())
    assert ends[:3] == [b"", b"", b""] and b" 408 " in ends[3] and first[0] == 200 and rest == b""
    assert app.state.service.metrics.value("guard_sockets_closed_total", reason="deadline") >= 4


def test_a_turn_of_the_loop_closes_few_sockets_whatever_is_due():
    """300 deadlines pass at the same moment: requests come to their turn between the closes, the oldest go first."""
    closed = []

    class Socket:
        def __init__(self, number):
            self.answered, self.transport = number % 2, SimpleNamespace(abort=lambda: closed.append(number))

    sockets = [Socket(k) for k in range(300)]

    async def work():
        waiting, turns = Waiting(1000, 0.0, Metrics()), []
        for each in sockets:
            waiting.add(each)
        waiting.headed(sockets[7])
        while len(closed) < 299:
            before = len(closed)
            await asyncio.sleep(0)
            turns.append(len(closed) - before)
        return turns

    assert max(asyncio.run(work())) == AT_ONCE and closed == [k for k in range(300) if k != 7]


def test_half_headers_are_only_collected(fitted, monkeypatch):
    """uvicorn's part of a connection begins with the first complete headers, and a later half starts no parsing."""
    app, parsed = create_app(ThreadWorker(fitted)), []
    whole = H11Protocol.data_received
    monkeypatch.setattr(H11Protocol, "data_received", lambda self, data: (parsed.append(data), whole(self, data)))

    async def work():
        async with serving(app) as (port, _):
            reader, writer = await connect(port)
            answers = []
            for _ in range(2):
                for byte in HEALTH:
                    writer.write(bytes([byte]))
                    await asyncio.sleep(0.001)
                answers.append((await answer_of(reader))[0])
            writer.write(HEALTH[:9])
            await asyncio.sleep(0.05)
            return answers

    assert asyncio.run(work()) == [200, 200] and parsed == [HEALTH, HEALTH]


@pytest.mark.parametrize("head", [b"GET /health HTTP/1.1\nHost: x\n\n", HEALTH + HEALTH[:20]])
def test_unusual_heads_are_read_as_uvicorn_reads_them(fitted, head):
    async def work():
        async with serving(create_app(ThreadWorker(fitted))) as (port, _):
            return await sent(port, head), await sent(port, b"\x16\x03\x01\x02"), await sent(port, b"a" * 20_000)

    right, tls, endless = asyncio.run(work())
    assert right[0] == 200 and tls[0] == 400 and endless[0] == 400


def test_what_is_loaded_is_out_of_garbage_collection_before_the_first_request(guard_folder, monkeypatch):
    """A full collection of a process with torch takes a quarter of a second, and a crowd of connections brings it about."""
    frozen = []

    async def no_service(_app, listener, _stop):
        listener.close()
        frozen.append(gc.get_freeze_count())

    monkeypatch.setattr(run_of, "run_service", no_service)
    try:
        run_of.serve(guard_folder, port=0)
    finally:
        gc.unfreeze()
    assert frozen[0] > 100_000


def test_a_client_that_does_not_read_its_answer_is_closed(fitted):
    app = create_app(ThreadWorker(fitted), settings=ServiceSettings(header_seconds=0.3))
    metrics = app.state.service.metrics

    async def work():
        async with serving(app) as (port, _):
            _, writer = await connect(port, limit=1024)
            writer.transport.pause_reading()
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 5000)  # answers that fill every buffer
            while not (closed := metrics.value("guard_sockets_closed_total", reason="unread")):
                await asyncio.sleep(0.05)
            return closed, await sent(port, HEALTH)

    closed, health = asyncio.run(work())
    assert closed == 1 and health[0] == 200


class Gated(ThreadWorker):
    """Answers once the gate is open."""

    def __init__(self, guard):
        super().__init__(guard)
        self.gate = asyncio.Event()

    async def start(self):
        self.loaded = 1

    async def score(self, texts):
        await self.gate.wait()
        return await super().score(texts)


def test_a_stop_answers_what_was_accepted_and_refuses_what_arrives(fitted):
    workers = Gated(fitted)
    app = create_app(workers, settings=ServiceSettings(batch_size=2))
    service = app.state.service

    async def work():
        async with serving(app) as (port, stop):
            long = "calm1 " * 9000
            early = [asyncio.create_task(sent(port, check(text))) for text in ("storm1", long, "calm2", "calm3")]
            typing, writer = await connect(port)
            writer.write(b"POST /v1/stream HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            slow, body = await connect(port)
            body.write(check()[:-5])
            while service.accepted < 6:
                await asyncio.sleep(0.01)
            stop.set()
            while not service.stopping:
                await asyncio.sleep(0.01)
            late = [await sent(port, data) for data in (check(), HEALTH, b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")]
            body.write(check()[-5:])
            workers.gate.set()
            return await asyncio.gather(*early), late, await answer_of(slow), await typing.read()

    early, late, slow, typed = asyncio.run(work())
    assert [status for status, _ in early] == [200] * 4 and slow[0] == 200
    assert [status for status, _ in late] == [503, 200, 503] and b"stopping" in late[1][1]
    assert b"the service stops" in late[0][1] and b'"status": 503' in typed


def fuzzed(rng):
    """One hostile request: broken JSON, headers, bodies, unicode, nesting, framing; never a right one."""
    junk = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 60)))
    deep = rng.randrange(1000, 200_000)
    bodies = [
        b"", junk, b"[" * deep, b'{"prompt":' * (deep // 10), b'{"prompt": ' + b"1" * 5000 + b"}", b'{"prompt": NaN}',
        b'{"prompt": "\\ud800"}', '{"prompt": "\u200b\u200d"}'.encode(), b'{"prompt": "\\u0000"', b'"\\ud83d"',
        json.dumps({"prompt": {"prompt": ["a"]}}).encode(), json.dumps({"prompts": "a", "input": 7}).encode(),
        b'{"input": [{"type": "image_url"}]}', b'{"prompts": []}', b'{"text": 3}\n', b"\xef\xbb\xbf{}", b"null",
    ]  # fmt: skip
    body = rng.choice(bodies)
    path = rng.choice(["/v1/check", "/v1/batch", "/v1/moderations", "/nowhere", "/v1/check/../..", "/%ff%00"])
    whole = post(path, body)
    mangled = bytearray(whole[:400])
    for _ in range(rng.randrange(1, 8)):
        mangled[rng.randrange(len(mangled))] = rng.randrange(256)
    return rng.choice([
        whole,
        post(path, body, "X-Long: " + "a" * rng.randrange(100, 60_000)),
        post(path, body, *[f"X-{k}: {k}" for k in range(rng.randrange(500))]),
        post(path, body, "Transfer-Encoding: chunked"),
        post(path, body, "Content-Type: text/\u00e9", "Authorization: Bearer \u00ff"),
        f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".encode() + junk,
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {rng.choice(['-1', 'a', '1e9', '9' * 30])}\r\n\r\n".encode(),
        f"{rng.choice(['GET', 'PUT', 'BREW', 'CONNECT', 'TRACE'])} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        b"GET /health HTTP/" + rng.choice([b"9.9", b"1.1\r\nHost: a\r\nHost: b", b"1.1"]) + b"\r\n\r\n",
        junk + b"\r\n\r\n", bytes(mangled) + b"\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01" + junk,
    ])  # fmt: skip


def test_a_thousand_fuzzed_requests_are_refused_and_none_hangs(fitted):
    """4xx or a closed connection for every one; a good request between them is answered. Seeded; the deadlines end what
    announces more than it sends."""
    settings = ServiceSettings(header_seconds=1, body_seconds=1, max_bytes=300_000)
    app = create_app(ThreadWorker(fitted), settings=settings)
    rng = random.Random(7)

    async def work():
        async with serving(app) as (port, _):
            gate, found, good = asyncio.Semaphore(40), [], []

            async def one(data):
                async with gate:
                    found.append(((await asyncio.wait_for(sent(port, data), 120))[0], data[:80]))

            for _ in range(10):
                await asyncio.gather(*(one(fuzzed(rng)) for _ in range(100)))
                good.append((await sent(port, check()))[0])
            return found, good, len(asyncio.all_tasks())

    found, good, tasks = asyncio.run(work())
    wrong = [x for x in found if x[0] is not None and not 400 <= x[0] < 500]
    health = [x for x in wrong if x[0] == 200 and x[1].startswith(b"GET /health HTTP/")]  # the one right request
    assert good == [200] * 10 and len(found) == 1000 and tasks < 20
    assert [w for w in wrong if w not in health] == [], wrong[:5]
    assert sum(status is None for status, _ in found) < 150
