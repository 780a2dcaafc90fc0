"""Reading requests: size, time, key, JSON and prompts, each refused with its own status and one sentence.

No refusal repeats what the client sent.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.requests import ClientDisconnect, Request

from cutaway.errors import InputError
from cutaway.guard.normal import Overlong, normalised
from cutaway.guard.prompts import check_prompt
from cutaway.guard.service.keys import Keys
from cutaway.guard.service.settings import ServiceSettings

SMALL = 65_536  # bytes: a body that always finds room
AT_ONCE = 4_096  # bytes or characters that are read in the event loop, in a few milliseconds at most


class Refused(Exception):
    """A request that gets no verdict: HTTP `status` and `reason`."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def check_key(request: Request, keys: Keys) -> str | None:
    """The name of the key that the request carries, as a bearer token or in X-API-Key; refused (401) without a right
    one."""
    if not keys.asked:
        return None
    # headers reach us decoded as latin-1: encoding them so gives the bytes that were sent
    given = request.headers.get("x-api-key", "")
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if not given and scheme.lower() == "bearer":
        given = token.strip()
    name = keys.name(given.encode("latin-1"))
    if name is None:
        raise Refused(401, "a valid API key is needed: Authorization: Bearer KEY, or X-API-Key")
    return name


class Bodies:
    """Reads bodies, each within its size and time, all together within `max_held_bytes`."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings, self.held, self.stopping = settings, 0, False
        self._streams: set[asyncio.Timeout] = set()

    def stop(self) -> None:
        """End all streams now; whole bodies still have their time."""
        self.stopping = True
        for limit in self._streams:
            limit.reschedule(asyncio.get_running_loop().time())

    async def whole(self, request: Request) -> bytes:
        """The body of a request; refuses what is too large (413), too slow (408) or too much with all others (503)."""
        parts: list[bytes] = []
        mine = 0
        try:
            async for piece in self.pieces(request):
                mine += len(piece)
                self.held += len(piece)
                if self.held > self.settings.max_held_bytes and mine > SMALL:
                    raise Refused(503, "too many large bodies at once; try again")
                parts.append(piece)
        finally:
            self.held -= mine
        return b"".join(parts)

    async def pieces(self, request: Request, *, typed: bool = False) -> AsyncIterator[bytes]:
        """The body as it arrives. `typed`: body_seconds is the longest pause between two pieces, and stream_seconds
        the limit of the whole."""
        settings, now = self.settings, asyncio.get_running_loop().time
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > settings.max_bytes:
            raise Refused(413, f"the body may hold at most {settings.max_bytes} bytes")
        total, stream = 0, request.stream().__aiter__()
        end = now() + (settings.stream_seconds if typed else settings.body_seconds)
        while True:
            limit = asyncio.timeout_at(min(end, now() + settings.body_seconds))
            try:
                async with limit:
                    if typed:
                        self._streams.add(limit)
                        if self.stopping:
                            raise TimeoutError
                    piece = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                raise self._late(typed) from error
            except ClientDisconnect as error:
                raise Refused(499, "the client went away") from error
            finally:
                self._streams.discard(limit)
            total += len(piece)
            if total > settings.max_bytes:
                raise Refused(413, f"the body may hold at most {settings.max_bytes} bytes")
            yield piece

    def _late(self, typed: bool) -> Refused:
        if typed and self.stopping:
            return Refused(503, "the service stops; send the text again")
        limits = f"{self.settings.body_seconds:g} seconds"
        if typed:
            limits = f"{self.settings.stream_seconds:g} seconds, with no pause of {limits}"
        return Refused(408, f"the body has to arrive within {limits}")


class Reader:
    """Reads what is short in the event loop, the rest in one thread beside it, one after the other, so that texts that
    are dear to normalise hold up each other only."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="read")

    async def read(self, size: int, work: Callable[..., Any], *arguments: Any) -> Any:
        """`work(*arguments)` for something of `size`; 504 where that does not end within `seconds`."""
        if size <= AT_ONCE:
            return work(*arguments)
        try:
            async with asyncio.timeout(self.seconds):
                return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
        except TimeoutError as error:
            raise Refused(504, f"not read within {self.seconds:g} seconds") from error

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def parse(raw: bytes) -> Any:
    """JSON from bytes; 400 for invalid UTF-8, invalid JSON, or JSON nested too deep."""
    try:
        return json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Refused(400, "the body is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise Refused(400, "the body is not valid JSON") from error


def prompts_of(content: Any, field: str, settings: ServiceSettings) -> list[str]:
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
        checked_prompt(text, settings, where=f"prompt {i + 1}")
    return texts


def checked_prompt(text: Any, settings: ServiceSettings, *, where: str) -> str:
    """A prompt that can be read; 413 when it is too long, 422 for all else."""
    most = settings.max_chars
    if isinstance(text, str) and len(text) > most:
        raise Refused(413, f"{where} is longer than {most} characters")
    try:
        plain = normalised(check_prompt(text, where=where), most=most)
        if len(plain) > most:
            raise Overlong
        check_prompt(plain, where=where)
    except InputError as error:
        raise Refused(422, str(error)) from error
    except Overlong as error:
        raise Refused(413, f"{where} is longer than {most} characters once normalised") from error
    return text
