"""What a client may keep waiting: uvicorn's HTTP protocol with deadlines and a limit on sockets that wait.

A socket waits while the server has nothing to do for it: no request yet, half of its headers, a body that is still
coming, the pause after a response. Until the headers of the next request are complete it has `header_seconds`,
whatever it trickles. When more than `sockets` wait, the one that has waited longest is closed, sockets that never
finished a request first; a request whose body has arrived is never counted and never closed. A client that does not
read its answer is closed as well.

A crowd costs little: half headers are only collected (uvicorn's part of a connection begins with the first complete
ones), one timer serves all deadlines, and a turn of the event loop closes at most `AT_ONCE` sockets, so that requests
come to their turn between them.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from cutaway.guard.service.metrics import Metrics
from cutaway.guard.service.settings import ServiceSettings

AT_ONCE = 4  # sockets that one turn of the event loop accepts, or closes
LONGEST_HEAD = 16_384  # bytes


class Waiting:
    """The sockets that wait on their clients, oldest first; closes the oldest beyond the limit, and those whose time
    for headers is over."""

    def __init__(self, limit: int, seconds: float, metrics: Metrics) -> None:
        self.limit, self.seconds, self.metrics = limit, seconds, metrics
        self._new: dict[Protocol, None] = {}
        self._known: dict[Protocol, None] = {}
        self._due: dict[Protocol, float] = {}  # in order, for all have the same time
        self._timer: asyncio.TimerHandle | None = None
        metrics.sockets_waiting.set_function(lambda: len(self._new) + len(self._known))

    def add(self, protocol: Protocol) -> None:
        """A socket from which headers are expected from now on."""
        (self._known if protocol.answered else self._new)[protocol] = None
        self._due[protocol] = asyncio.get_running_loop().time() + self.seconds
        if len(self._new) + len(self._known) > self.limit:
            self.close(next(iter(self._new or self._known)), "limit")
        self._watch()

    def headed(self, protocol: Protocol) -> None:
        """Its headers are complete."""
        self._due.pop(protocol, None)

    def remove(self, protocol: Protocol) -> None:
        """It does not wait any more."""
        self._new.pop(protocol, None)
        self._known.pop(protocol, None)
        self._due.pop(protocol, None)

    def close(self, protocol: Protocol, reason: str) -> None:
        self.remove(protocol)
        self.metrics.sockets_closed.labels(reason=reason).inc()
        protocol.transport.abort()

    def _watch(self) -> None:
        if self._timer is None and self._due:
            self._timer = asyncio.get_running_loop().call_at(next(iter(self._due.values())), self._sweep)

    def _sweep(self) -> None:
        self._timer, now = None, asyncio.get_running_loop().time()
        for protocol, due in list(itertools.islice(self._due.items(), AT_ONCE)):
            if due <= now:
                self.close(protocol, "deadline")
        self._watch()


class Protocol(H11Protocol):
    """One connection. `waiting` and `settings` are set by `protocol`."""

    waiting: Waiting
    settings: ServiceSettings
    answered = begun = False
    cycle: Any = None
    _unread: asyncio.TimerHandle | None = None

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        self._arguments = (config, server_state, app_state, _loop)
        self.connections, self._head = server_state.connections, bytearray()

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.connections.add(self)
        self.waiting.add(self)

    def data_received(self, data: bytes) -> None:
        if self._in_request() or (self.begun and self.conn.trailing_data[0]):
            super().data_received(data)
            return
        head, seen = self._head, max(0, len(self._head) - 2)
        head += data
        if _complete(head, seen):
            self._head = bytearray()
            self._begin()
            super().data_received(bytes(head))

    def handle_events(self) -> None:
        super().handle_events()
        if self._in_request():
            self.waiting.headed(self)
            if not self.cycle.more_body:
                self.waiting.remove(self)

    def on_response_complete(self) -> None:
        self.answered = True
        super().on_response_complete()
        if not self._in_request():
            self.waiting.remove(self)
            self.waiting.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.waiting.remove(self)
        self.connections.discard(self)
        self._read_again()
        if self.begun:
            super().connection_lost(exc)

    def shutdown(self) -> None:
        if self.begun:
            super().shutdown()
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self.settings.header_seconds, self.waiting.close, self, "unread")

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read_again()

    def _begin(self) -> None:
        """uvicorn's part of the connection, at the first complete headers."""
        if not self.begun:
            self.begun, transport = True, self.transport
            super().__init__(*self._arguments)
            super().connection_made(transport)

    def _in_request(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _read_again(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


def _complete(head: bytearray, seen: int) -> bool:
    """Whether this is for the parser: an empty line ends it, or it is too long, or no method begins like that. It was
    not up to byte `seen`."""
    ended = head.find(b"\n\r\n", seen) >= 0 or head.find(b"\n\n", seen) >= 0
    return ended or len(head) > LONGEST_HEAD or head[0] <= 0x20


def protocol(settings: ServiceSettings, metrics: Metrics) -> type[Protocol]:
    """The protocol class of one server, for `uvicorn.Config(http=...)`."""
    limit = min(settings.sockets, _files() - 256)
    waiting = Waiting(max(limit, 16), settings.header_seconds, metrics)
    return type("GuardProtocol", (Protocol,), {"settings": settings, "waiting": waiting})


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
