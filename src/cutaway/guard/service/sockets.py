"""What a client may keep waiting: uvicorn's HTTP protocol with deadlines and a limit on sockets that wait.

A socket waits while the server has nothing to do for it: no request yet, half of its headers, a body that is still
coming, the pause after a response. Until the headers of the next request are complete it has `header_seconds`,
whatever it trickles. When more than `sockets` wait, the one that has waited longest is closed, sockets that never
finished a request first; a request whose body has arrived is never counted and never closed. A client that does not
read its answer is closed as well.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

from cutaway.guard.service.metrics import Metrics
from cutaway.guard.service.settings import Settings


class Waiting:
    """The sockets that wait on their clients, oldest first; closes the oldest beyond the limit."""

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self.limit, self.metrics = limit, metrics
        self._new: dict[Protocol, None] = {}
        self._known: dict[Protocol, None] = {}
        metrics.sockets_waiting.set_function(lambda: len(self._new) + len(self._known))

    def add(self, protocol: Protocol) -> None:
        (self._known if protocol.answered else self._new).setdefault(protocol)
        if len(self._new) + len(self._known) > self.limit:
            self.close(next(iter(self._new or self._known)), "limit")

    def remove(self, protocol: Protocol) -> None:
        self._new.pop(protocol, None)
        self._known.pop(protocol, None)

    def close(self, protocol: Protocol, reason: str) -> None:
        self.remove(protocol)
        self.metrics.sockets_closed.labels(reason=reason).inc()
        protocol.transport.abort()


class Protocol(H11Protocol):
    """One connection. `waiting` and `settings` are set by `protocol`."""

    waiting: Waiting
    settings: Settings
    answered = False
    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def handle_events(self) -> None:
        super().handle_events()
        if self._in_request():
            self._disarm()
            if not self.cycle.more_body:
                self.waiting.remove(self)

    def on_response_complete(self) -> None:
        self.answered = True
        super().on_response_complete()
        if not self._in_request():
            self.waiting.remove(self)
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._disarm()
        self._read_again()
        self.waiting.remove(self)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self.settings.header_seconds, self.waiting.close, self, "unread")

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read_again()

    def _in_request(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(self.settings.header_seconds, self.waiting.close, self, "deadline")
        self.waiting.add(self)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _read_again(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


def protocol(settings: Settings, metrics: Metrics) -> type[Protocol]:
    """The protocol class of one server, for `uvicorn.Config(http=...)`."""
    limit = min(settings.sockets, _files() - 256)
    return type("GuardProtocol", (Protocol,), {"settings": settings, "waiting": Waiting(max(limit, 16), metrics)})


def _files() -> int:
    """Files this process may open, raised as far as the system lets it."""
    try:
        import resource
    except ImportError:  # Windows counts sockets otherwise
        return 1 << 16
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1 << 16 if hard == resource.RLIM_INFINITY else min(hard, 1 << 16)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return 1 << 16 if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
