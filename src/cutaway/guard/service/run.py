"""Starting and stopping the service: load, check the certificate, listen, finish what was accepted.

The server is uvicorn, with deadlines and a limit on waiting sockets in its HTTP protocol (`sockets.py`). A stop
(SIGTERM, SIGINT) keeps listening until what was accepted is answered; what arrives meanwhile gets 503. A second signal
stops at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from cutaway.errors import InputError, MissingExtra, WorkError
from cutaway.guard import certificate_file
from cutaway.guard.folder import load_guardrail
from cutaway.guard.service.settings import ServiceSettings

QUEUED = 4096  # connections that wait to be accepted


def build_service(
    folder: Path,
    *,
    certificate: Path | None = None,
    settings: ServiceSettings | None = None,
    model: str | None = None,
    device: str = "cpu",
    keys: Path | None = None,
    decisions: Path | None = None,
):
    """The application for a guardrail folder. Raises ModelError for a certificate of another model or detector."""
    from cutaway.guard.evidence import Explainer
    from cutaway.guard.evidence_file import read_evidence
    from cutaway.guard.service.app import create_app
    from cutaway.guard.service.metrics import Metrics
    from cutaway.guard.service.workers import ProcessWorkers, ThreadWorker

    settings, metrics = settings or ServiceSettings(), Metrics()
    guard = load_guardrail(folder, model=model, device=device)
    path = certificate or (folder / certificate_file.NAME if (folder / certificate_file.NAME).is_file() else None)
    status = "none"
    if path is not None:
        found = certificate_file.read_certificate(path)
        certificate_file.check(found, guard)
        status = found.status.value

    explainer = Explainer(guard, read_evidence(folder, guard)) if settings.explain else None

    def workers():
        if not settings.workers:
            return ThreadWorker(guard, explainer)
        options = {"seconds": settings.request_seconds, "explain": settings.explain}
        return ProcessWorkers(folder, settings.workers, metrics, model=model, device=device, **options)

    given = {"settings": settings, "certificate": status, "metrics": metrics}
    return create_app(workers(), **given, keys=keys, decisions=decisions)


def serve(
    folder: Path,
    *,
    certificate: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    settings: ServiceSettings | None = None,
    model: str | None = None,
    device: str = "cpu",
    keys: Path | None = None,
    decisions: Path | None = None,
) -> None:
    """Listen until SIGINT or SIGTERM; then answer what was accepted, refuse what arrives, and return."""
    try:
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtra.of("uvicorn", "serve") from error
    settings = settings or ServiceSettings()
    listener = _bind(host, port)
    try:
        files = {"certificate": certificate, "keys": keys, "decisions": decisions}
        app = build_service(Path(folder), settings=settings, model=model, device=device, **files)
    except BaseException:
        listener.close()
        raise
    print(f"guardrail: listening on http://{host}:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
    gc.collect()
    gc.freeze()  # a full collection of what is loaded would hold every request up for a quarter of a second
    try:
        asyncio.run(run_service(app, listener, asyncio.Event()))
    finally:
        app.state.service.workers.close()


def make_server(app, settings: ServiceSettings):
    """uvicorn's server with our protocol; it is stopped by `run_service`, not by signals of its own."""
    import uvicorn

    from cutaway.guard.service.sockets import AT_ONCE, LONGEST_HEAD, protocol

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    config = uvicorn.Config(
        app,
        http=protocol(settings, app.state.service.metrics),
        ws="none",
        log_level="critical",  # what clients get wrong is counted, not written
        access_log=False,
        server_header=False,
        backlog=AT_ONCE,
        timeout_keep_alive=int(settings.header_seconds) + 5,  # ours comes first
        timeout_graceful_shutdown=10,
        lifespan="on",
        h11_max_incomplete_event_size=LONGEST_HEAD,
    )
    return Server(config)


async def run_service(app, listener: socket.socket, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, by a signal or otherwise. Raises WorkError when no worker could start."""
    service, server = app.state.service, make_server(app, app.state.service.settings)

    def asked() -> None:
        server.should_exit = server.force_exit = stop.is_set()
        stop.set()

    with _on_signals(asked):
        serving, stopping = asyncio.ensure_future(server.serve(sockets=[listener])), asyncio.ensure_future(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            service.stop()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(service.quiet(), service.settings.stop_seconds)
            server.should_exit = True
        stopping.cancel()
        await serving
    if not server.started and not stop.is_set():
        raise WorkError(
            "the service",
            found="no worker that could load the guardrail",
            expected="a start",
            remedy="read the log above for its cause; check memory and the guardrail's folder",
        )


@contextlib.contextmanager
def _on_signals(act: Callable[[], None]) -> Iterator[None]:
    """Call `act` in the event loop at SIGINT and SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    was = {
        number: signal.signal(number, lambda *_: loop.call_soon_threadsafe(act))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in was.items():
            signal.signal(number, handler)


class _Listener(socket.socket):
    """A listening socket with a long queue of which the event loop takes a few at a time."""

    def listen(self, backlog: int = QUEUED, /) -> None:
        super().listen(max(backlog, QUEUED))


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # with the protocol named, asyncio turns off the delay of small packets (40 ms a reply otherwise)
    listener = _Listener(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise InputError(
            f"address {host}:{port}",
            found=str(error),
            expected="a free address of this machine",
            remedy="choose another --port",
        ) from error
    return listener
