"""`/v1/stream`: lines {"text": piece} in as they are typed, one verdict on the text so far out for each."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from cutaway.guard.service.requests import Refused, checked_prompt, parse
from cutaway.guard.service.settings import ServiceSettings

if TYPE_CHECKING:
    from cutaway.guard.service.app import Service


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


async def stream_lines(request: Request, service: Service, key: str | None) -> AsyncIterator[dict]:
    """One verdict on the text so far for every line {"text": piece}; an error ends the stream with {"error"}."""
    text, count, rest = "", 0, b""
    service.accepted += 1
    try:
        async for piece in service.bodies.pieces(request, typed=True):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                text, count = _grown(text, count, line, service.settings)
                if text.strip():
                    yield await _so_far(text, service, key)
        if rest.strip():
            text, count = _grown(text, count, rest, service.settings)
            yield await _so_far(text, service, key)
        service.note([text])
    except Refused as refused:
        service.metrics.streams_refused.labels(code=str(refused.status)).inc()
        yield {"error": refused.reason, "status": refused.status}
    except ClientDisconnect:
        return
    finally:
        service.accepted -= 1


def _grown(text: str, count: int, line: bytes, settings: ServiceSettings) -> tuple[str, int]:
    if not line.strip():
        return text, count
    content = parse(line)
    if not isinstance(content, dict) or not isinstance(content.get("text"), str):
        raise Refused(422, "expected lines of JSON objects with the field 'text'")
    if count + 1 > settings.max_pieces:
        raise Refused(413, f"at most {settings.max_pieces} pieces in one stream")
    return text + content["text"], count + 1


async def _so_far(text: str, service: Service, key: str | None) -> dict:
    await service.reader.read(len(text), partial(checked_prompt, text, service.settings, where="the text so far"))
    return {"characters": len(text), **(await service.verdicts([text], time.perf_counter(), "/v1/stream", key))[0]}
