"""The application: routes, and what every request goes through (key, limits, metrics, log).

POST /v1/check {"prompt"}, /v1/explain {"prompt"} (where `explain` is set: with the nearest training prompts),
/v1/batch {"prompts"}, /v1/stream (lines {"text"} in, one verdict on the text so far out
for each), /v1/moderations (OpenAI's shape); GET /health, /ready, /metrics, /openapi.json, /docs, /. Verdicts carry
id, score
(logit), probability, threshold, truncated, windows, tokens, certificate status and seconds. Prompts are neither
logged (unless asked) nor repeated in errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from cutaway.errors import CutawayError, MissingExtra
from cutaway.guard.guardrail import PromptVerdict
from cutaway.guard.service.batching import Batcher, Full
from cutaway.guard.service.decisions import Decisions
from cutaway.guard.service.keys import Keys
from cutaway.guard.service.metrics import Metrics
from cutaway.guard.service.page import POLICY, docs_page, try_page
from cutaway.guard.service.settings import ServiceSettings
from cutaway.guard.service.workers import Absent, Workers

try:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

    from cutaway.guard.service import moderation
    from cutaway.guard.service.described import BODIES
    from cutaway.guard.service.requests import Bodies, Reader, Refused, check_key, parse, prompts_of
    from cutaway.guard.service.streaming import LinesResponse, stream_lines
except ImportError as error:
    raise MissingExtra.of("fastapi", "serve") from error

log = logging.getLogger("cutaway.guard")


Handler = Callable[[Request, float, str | None], Awaitable[Response]]


class Service:
    """What the routes share. `certificate`: its status in words, "none" without one."""

    def __init__(
        self,
        workers: Workers,
        settings: ServiceSettings,
        metrics: Metrics,
        certificate: str = "none",
        *,
        keys: Keys | None = None,
        decisions: Decisions | None = None,
    ) -> None:
        self.settings, self.metrics, self.certificate, self.workers = settings, metrics, certificate, workers
        self.keys, self.decisions = keys or Keys(), decisions or Decisions()
        self.batcher, self.bodies = Batcher(workers, settings, metrics), Bodies(settings)
        self.reader = Reader(settings.request_seconds)
        self.ready = self.stopping = False
        self.accepted = 0

    def stop(self) -> None:
        """From now on refuse what arrives (503) and end streams; what was accepted is still answered."""
        self.stopping = True
        self.bodies.stop()

    async def quiet(self) -> None:
        """Return when nothing that was accepted waits for its answer."""
        while self.accepted:
            await asyncio.sleep(0.02)

    async def verdicts(self, texts: list[str], began: float, path: str, key: str | None) -> list[dict]:
        """Answers for checked prompts."""
        found = await self._in_time(self.batcher.submit(texts))
        return [self.answer(v, began, path, key, len(t)) for v, t in zip(found, texts, strict=True)]

    async def explained(self, text: str, began: float, path: str, key: str | None) -> dict:
        """The answer for a checked prompt, with what stands behind it."""
        found = await self._in_time(self.batcher.alone(lambda: self.workers.explain(text)))
        verdict = PromptVerdict(**found.pop("verdict"))
        return {**self.answer(verdict, began, path, key, len(text)), **found}

    async def _in_time(self, work: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(self.settings.request_seconds):
                return await work
        except Full as error:
            raise Refused(503, "too many prompts are waiting; try again") from error
        except Absent as error:
            raise Refused(503, "no worker is loaded; try again") from error
        except TimeoutError as error:
            raise Refused(504, f"no answer within {self.settings.request_seconds:g} seconds") from error

    def answer(self, verdict: PromptVerdict, began: float, path: str, key: str | None, characters: int) -> dict:
        """A verdict as JSON."""
        self.metrics.prompts.labels(verdict="harmful" if verdict.harmful else "harmless").inc()
        if verdict.truncated:
            self.metrics.long_prompts.inc()
        seconds = round(time.perf_counter() - began, 6)
        record = {"id": uuid.uuid4().hex, **dataclasses.asdict(verdict), "certificate": self.certificate}
        self.decisions.write(path=path, key=key, characters=characters, **record, seconds=seconds)
        return {**record, "seconds": seconds}

    def note(self, texts: list[str]) -> None:
        """Write prompts into the log, if that was asked for."""
        if self.settings.log_prompts:
            for text in texts:
                log.info("prompt %r", text)


def create_app(
    workers: Workers,
    *,
    settings: ServiceSettings | None = None,
    certificate: str = "none",
    metrics: Metrics | None = None,
    keys: Path | None = None,
    decisions: Path | None = None,
) -> FastAPI:
    """The application for a set of workers. `keys`: a file of keys; `decisions`: a file for the log of decisions."""
    service = Service(
        workers,
        settings or ServiceSettings(),
        metrics or Metrics(),
        certificate,
        keys=Keys(keys),
        decisions=Decisions(decisions),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        try:
            await workers.start()
            service.batcher.start()
            service.ready = True
            yield
        finally:
            service.ready = False
            await service.batcher.drain()
            await asyncio.to_thread(workers.close)
            service.reader.close()
            service.decisions.close()

    app = FastAPI(title="Cutaway guardrail", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    for path, handler in _handlers(service).items():
        _route(app, service, path, handler)
    _plain_routes(app, service)
    return app


def _handlers(service: Service) -> dict[str, Handler]:
    async def texts_in(request: Request, of: Callable[[Any], list[str]]) -> list[str]:
        raw = await service.bodies.whole(request)
        texts = await service.reader.read(len(raw), lambda: of(parse(raw)))
        service.note(texts)
        return texts

    async def prompts(request: Request, field: str) -> list[str]:
        return await texts_in(request, lambda content: prompts_of(content, field, service.settings))

    async def check(request: Request, began: float, key: str | None) -> Response:
        texts = await prompts(request, "prompt")
        return JSONResponse((await service.verdicts(texts, began, "/v1/check", key))[0])

    async def batch(request: Request, began: float, key: str | None) -> Response:
        texts = await prompts(request, "prompts")
        return JSONResponse({"verdicts": await service.verdicts(texts, began, "/v1/batch", key)})

    async def stream(request: Request, began: float, key: str | None) -> Response:
        return LinesResponse(stream_lines(request, service, key))

    async def moderations(request: Request, began: float, key: str | None) -> Response:
        texts = await texts_in(request, lambda content: moderation.texts_of(content, service.settings))
        return JSONResponse(moderation.answer(await service.verdicts(texts, began, "/v1/moderations", key)))

    async def explain(request: Request, began: float, key: str | None) -> Response:
        texts = await prompts(request, "prompt")
        return JSONResponse(await service.explained(texts[0], began, "/v1/explain", key))

    routes: dict[str, Handler] = {
        "/v1/check": check,
        "/v1/batch": batch,
        "/v1/stream": stream,
        "/v1/moderations": moderations,
    }
    if service.settings.explain:
        routes["/v1/explain"] = explain
    return routes


def _plain_routes(app: FastAPI, service: Service) -> None:
    safe = {"content-security-policy": POLICY, "x-content-type-options": "nosniff"}

    @app.get("/health")
    async def health() -> dict:
        return {"status": "stopping" if service.stopping else "ok"}

    @app.get("/ready")
    async def ready() -> Response:
        ready = service.ready and not service.stopping and service.workers.loaded > 0
        return JSONResponse({"ready": ready}, status_code=200 if ready else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return PlainTextResponse(service.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return HTMLResponse(try_page(explains=service.settings.explain), headers=safe)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        offered = {path: told for path, told in BODIES.items() if path != "/v1/explain" or service.settings.explain}
        return HTMLResponse(docs_page(offered), headers=safe)


def _route(app: FastAPI, service: Service, path: str, handle: Handler) -> None:
    async def endpoint(request: Request) -> Response:
        began = time.perf_counter()
        response = await _guarded(service, request, began, handle)
        seconds = time.perf_counter() - began
        service.metrics.requests.labels(path=path, code=str(response.status_code)).inc()
        service.metrics.request_seconds.observe(seconds)
        log.info("%s %d %.1f ms", path, response.status_code, 1000 * seconds)
        return response

    described = BODIES[path]
    app.add_api_route(path, endpoint, methods=["POST"], response_model=None, name=path[4:], openapi_extra=described)


async def _guarded(service: Service, request: Request, began: float, handle: Handler) -> Response:
    shape = moderation.refusal if request.url.path == "/v1/moderations" else _plain
    if service.stopping:
        return _refusal(503, "the service stops; ask another one", shape)
    service.accepted += 1
    try:
        key = check_key(request, service.keys)
        if not service.ready:
            raise Refused(503, "the service is not ready")
        return await handle(request, began, key)
    except Refused as refused:
        return _refusal(refused.status, refused.reason, shape)
    except CutawayError as error:
        return _refusal(422 if error.exit_code == 2 else 500, str(error), shape)
    except Exception as error:
        log.error("failed: %s", type(error).__name__)  # its text might hold the prompt
        return _refusal(500, f"the work failed ({type(error).__name__})", shape)
    finally:
        service.accepted -= 1


def _plain(status: int, reason: str) -> dict:
    return {"error": reason}


def _refusal(status: int, reason: str, shape: Callable[[int, str], dict] = _plain) -> Response:
    headers = {"connection": "close"} if status in (401, 408, 413) else {}  # the rest of the body is not read
    if status == 503:
        headers |= {"retry-after": "1", "connection": "close"}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(shape(status, reason), status_code=status, headers=headers)
