"""Reading requests: size, time, key, JSON and prompts, each refused with its own status and one sentence.

No refusal repeats what the client sent.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import ClientDisconnect, Request

from cutaway.errors import InputError
from cutaway.guard.prompts import check_prompt
from cutaway.guard.service.settings import Settings


class Refused(Exception):
    """A request that gets no verdict: HTTP `status` and `reason`."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def check_key(request: Request, key: bytes | None) -> None:
    """Refuse (401) unless the request carries the key, as a bearer token or in X-API-Key; compared in constant time."""
    if key is None:
        return
    # headers reach us decoded as latin-1: encoding them so gives the bytes that were sent
    given = request.headers.get("x-api-key", "")
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if not given and scheme.lower() == "bearer":
        given = token.strip()
    if not hmac.compare_digest(given.encode("latin-1"), key):
        raise Refused(401, "a valid API key is needed: Authorization: Bearer KEY, or X-API-Key")


async def pieces(request: Request, settings: Settings, *, typed: bool = False) -> AsyncIterator[bytes]:
    """The body as it arrives; refuses what is too large (413) or too slow (408). `typed`: body_seconds is the longest
    pause between two pieces, and stream_seconds the limit of the whole."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > settings.max_bytes:
        raise Refused(413, f"the body may hold at most {settings.max_bytes} bytes")
    total = 0
    stream = request.stream().__aiter__()
    now = asyncio.get_running_loop().time
    end = now() + (settings.stream_seconds if typed else settings.body_seconds)
    while True:
        try:
            async with asyncio.timeout_at(min(end, now() + settings.body_seconds)):
                piece = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            limits = f"{settings.body_seconds:g} seconds"
            if typed:
                limits = f"{settings.stream_seconds:g} seconds, with no pause of {limits}"
            raise Refused(408, f"the body has to arrive within {limits}") from error
        except ClientDisconnect as error:
            raise Refused(499, "the client went away") from error
        total += len(piece)
        if total > settings.max_bytes:
            raise Refused(413, f"the body may hold at most {settings.max_bytes} bytes")
        yield piece


async def body_json(request: Request, settings: Settings) -> Any:
    """The body as JSON; 400 for what is none."""
    raw = b"".join([piece async for piece in pieces(request, settings)])
    return parse(raw)


def parse(raw: bytes) -> Any:
    """JSON from bytes; 400 for invalid UTF-8, invalid JSON, or JSON nested too deep."""
    try:
        return json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Refused(400, "the body is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise Refused(400, "the body is not valid JSON") from error


def prompts_of(content: Any, field: str, settings: Settings) -> list[str]:
    """The prompts of `{"prompt": text}` or `{"prompts": [text, ...]}`; 422 for another shape or an unusable prompt, 413
    for too many or too long."""
    if not isinstance(content, dict) or field not in content:
        raise Refused(422, f"expected a JSON object with the field {field!r}")
    value = content[field]
    texts = value if field == "prompts" else [value]
    if not isinstance(texts, list) or not texts:
        raise Refused(422, "prompts has to be a list with at least one text")
    if len(texts) > settings.max_prompts:
        raise Refused(413, f"at most {settings.max_prompts} prompts in one request")
    for i, text in enumerate(texts):
        checked(text, settings, where=f"prompt {i + 1}")
    return texts


def checked(text: Any, settings: Settings, *, where: str) -> str:
    """A prompt that can be read; 413 when it is too long, 422 for all else."""
    if isinstance(text, str) and len(text) > settings.max_chars:
        raise Refused(413, f"{where} is longer than {settings.max_chars} characters")
    try:
        return check_prompt(text, where=where)
    except InputError as error:
        raise Refused(422, str(error)) from error
