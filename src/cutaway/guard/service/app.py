"""The application: routes, and what every request goes through (key, limits, metrics, log).

POST /v1/check {"prompt"}, /v1/batch {"prompts"}, /v1/stream (lines {"text"} in, one verdict on the text so far out for
each); GET /health, /ready, /metrics, /. Verdicts carry score (logit), probability, threshold, truncated, tokens,
certificate status and seconds. Prompts are neither logged (unless asked) nor repeated in errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from cutaway.errors import CutawayError, MissingExtra
from cutaway.guard.guardrail import Verdict
from cutaway.guard.service.batching import Batcher, Full
from cutaway.guard.service.metrics import Metrics
from cutaway.guard.service.page import PAGE, POLICY
from cutaway.guard.service.settings import Settings, api_key
from cutaway.guard.service.workers import Workers

try:
    from fastapi import FastAPI
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

    from cutaway.guard.service.requests import Refused, body_json, check_key, checked, parse, pieces, prompts_of
except ImportError as error:
    raise MissingExtra.of("fastapi", "serve") from error

log = logging.getLogger("cutaway.guard")


class Service:
    """What the routes share. `certificate`: its status in words, "none" without one."""

    def __init__(self, workers: Workers, settings: Settings, metrics: Metrics, certificate: str = "none") -> None:
        self.settings, self.metrics, self.certificate, self.workers = settings, metrics, certificate, workers
        self.key = api_key()
        self.batcher = Batcher(workers, settings, metrics)
        self.ready = False

    async def verdicts(self, texts: list[str], began: float) -> list[dict]:
        """Answers for checked prompts."""
        try:
            async with asyncio.timeout(self.settings.request_seconds):
                found = await self.batcher.submit(texts)
        except Full as error:
            raise Refused(503, "too many prompts are waiting; try again") from error
        except TimeoutError as error:
            raise Refused(504, f"no answer within {self.settings.request_seconds:g} seconds") from error
        return [self.answer(v, began) for v in found]

    def answer(self, verdict: Verdict, began: float) -> dict:
        """A verdict as JSON."""
        self.metrics.count("guard_prompts_total", verdict="harmful" if verdict.harmful else "harmless")
        if verdict.truncated:
            self.metrics.count("guard_prompts_truncated_total")
        timing = {"certificate": self.certificate, "seconds": round(time.perf_counter() - began, 6)}
        return dataclasses.asdict(verdict) | timing

    def note(self, texts: list[str]) -> None:
        """Write prompts into the log, if that was asked for."""
        if self.settings.log_prompts:
            for text in texts:
                log.info("prompt %r", text)


def create_app(
    workers: Workers, *, settings: Settings | None = None, certificate: str = "none", metrics: Metrics | None = None
) -> FastAPI:
    """The application for a set of workers."""
    service = Service(workers, settings or Settings(), metrics or Metrics(), certificate)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        service.batcher.start()
        await workers.score(["Once upon a time there was a little girl."])  # the first pass is slow: not a client's
        service.ready = True
        try:
            yield
        finally:
            service.ready = False
            await service.batcher.drain()
            await asyncio.to_thread(workers.close)

    app = FastAPI(title="Cutaway guardrail", lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.service = service
    route = _router(app, service)

    async def check(request: Request, began: float) -> Response:
        texts = prompts_of(await body_json(request, service.settings), "prompt", service.settings)
        service.note(texts)
        return JSONResponse((await service.verdicts(texts, began))[0])

    async def batch(request: Request, began: float) -> Response:
        texts = prompts_of(await body_json(request, service.settings), "prompts", service.settings)
        service.note(texts)
        return JSONResponse({"verdicts": await service.verdicts(texts, began)})

    async def stream(request: Request, began: float) -> Response:
        return LinesResponse(_stream_lines(request, service))

    route("/v1/check", check)
    route("/v1/batch", batch)
    route("/v1/stream", stream)
    _plain_routes(app, service)
    return app


def _plain_routes(app: FastAPI, service: Service) -> None:
    @app.get("/health")
    async def health() -> dict:
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> Response:
        return JSONResponse({"ready": service.ready}, status_code=200 if service.ready else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return PlainTextResponse(service.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/")
    async def page() -> Response:
        return HTMLResponse(PAGE, headers={"content-security-policy": POLICY, "x-content-type-options": "nosniff"})


def _router(app: FastAPI, service: Service):
    def route(path: str, handle: Callable[[Request, float], Awaitable[Response]]) -> None:
        async def endpoint(request: Request) -> Response:
            began = time.perf_counter()
            response = await _guarded(service, request, began, handle)
            seconds = time.perf_counter() - began
            service.metrics.count("guard_requests_total", path=path, code=str(response.status_code))
            service.metrics.observe("guard_request_seconds", seconds)
            log.info("%s %d %.1f ms", path, response.status_code, 1000 * seconds)
            return response

        app.add_api_route(path, endpoint, methods=["POST"], response_model=None)

    return route


async def _guarded(service: Service, request: Request, began: float, handle) -> Response:
    try:
        check_key(request, service.key)
        if not service.ready:
            raise Refused(503, "the service is not ready")
        return await handle(request, began)
    except Refused as refused:
        return _refusal(refused.status, refused.reason)
    except CutawayError as error:
        return _refusal(422 if error.exit_code == 2 else 500, str(error))
    except Exception as error:
        log.error("failed: %s", type(error).__name__)  # its text might hold the prompt
        return _refusal(500, f"the work failed ({type(error).__name__})")


def _refusal(status: int, reason: str) -> Response:
    headers = {"connection": "close"} if status in (408, 413) else {}
    if status == 503:
        headers["retry-after"] = "1"
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse({"error": reason}, status_code=status, headers=headers)


class LinesResponse(Response):
    """Lines of JSON as they come, while the request's body is still being read."""

    def __init__(self, lines: AsyncIterator[dict]) -> None:
        super().__init__(status_code=200, media_type="application/x-ndjson")
        self.lines = lines
        self.raw_headers = [(k, v) for k, v in self.raw_headers if k != b"content-length"]

    async def __call__(self, scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for line in self.lines:
            data = json.dumps(line).encode() + b"\n"
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _stream_lines(request: Request, service: Service) -> AsyncIterator[dict]:
    """One verdict on the text so far for every line {"text": piece}; an error ends the stream with {"error"}."""
    text, count, rest = "", 0, b""
    try:
        async for piece in pieces(request, service.settings, typed=True):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                text, count = _grown(text, count, line, service.settings)
                if text.strip():
                    yield await _so_far(text, service)
        if rest.strip():
            text, count = _grown(text, count, rest, service.settings)
            yield await _so_far(text, service)
        service.note([text])
    except Refused as refused:
        service.metrics.count("guard_streams_refused_total", code=str(refused.status))
        yield {"error": refused.reason, "status": refused.status}
    except ClientDisconnect:
        return


def _grown(text: str, count: int, line: bytes, settings: Settings) -> tuple[str, int]:
    if not line.strip():
        return text, count
    content = parse(line)
    if not isinstance(content, dict) or not isinstance(content.get("text"), str):
        raise Refused(422, "expected lines of JSON objects with the field 'text'")
    if count + 1 > settings.max_pieces:
        raise Refused(413, f"at most {settings.max_pieces} pieces in one stream")
    return text + content["text"], count + 1


async def _so_far(text: str, service: Service) -> dict:
    checked(text, service.settings, where="the text so far")
    return {"characters": len(text), **(await service.verdicts([text], time.perf_counter()))[0]}
