"""Starting and stopping the service: load, check the certificate, listen, finish what was accepted."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from cutaway.errors import InputError, MissingExtra
from cutaway.guard import certificate_file
from cutaway.guard.folder import load
from cutaway.guard.service.metrics import Metrics
from cutaway.guard.service.settings import Settings
from cutaway.guard.service.workers import ProcessWorkers, ThreadWorker


def build(
    folder: Path, *, certificate: Path | None = None, settings: Settings | None = None, model: str | None = None,
    device: str = "cpu",
):  # fmt: skip
    """The application for a guardrail folder. Raises ModelError for a certificate of another model or detector."""
    from cutaway.guard.service.app import create_app

    settings, metrics = settings or Settings(), Metrics()
    guard = load(folder, model=model, device=device)
    path = certificate or (folder / certificate_file.NAME if (folder / certificate_file.NAME).is_file() else None)
    status = "none"
    if path is not None:
        found = certificate_file.read(path)
        certificate_file.check(found, guard)
        status = found.status.value
    workers = (
        ProcessWorkers(folder, settings.workers, metrics, model=model, device=device)
        if settings.workers
        else ThreadWorker(guard)
    )
    return create_app(workers, settings=settings, certificate=status, metrics=metrics)


def serve(
    folder: Path, *, certificate: Path | None = None, host: str = "127.0.0.1", port: int = 8000,
    settings: Settings | None = None, model: str | None = None, device: str = "cpu",
) -> None:  # fmt: skip
    """Listen until SIGINT or SIGTERM; then refuse new connections, answer what was accepted, and return."""
    try:
        import uvicorn
    except ImportError as error:
        raise MissingExtra.of("uvicorn", "serve") from error
    settings = settings or Settings()
    listener = _bind(host, port)
    app = build(Path(folder), certificate=certificate, settings=settings, model=model, device=device)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=settings.stop_seconds,
        limit_concurrency=settings.connections,
        timeout_keep_alive=30,
        lifespan="on",
        h11_max_incomplete_event_size=16384,
    )
    print(f"guardrail: listening on http://{host}:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
    with _signals_end_the_server():
        uvicorn.Server(config).run(sockets=[listener])


@contextlib.contextmanager
def _signals_end_the_server() -> Iterator[None]:
    """uvicorn raises SIGINT and SIGTERM again after it has stopped; a stop that was asked for is no failure."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    was = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in was.items():
            signal.signal(number, handler)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # with the protocol named, asyncio turns off the delay of small packets (40 ms a reply otherwise)
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise InputError(
            f"address {host}:{port}", found=str(error), expected="a free address of this machine",
            remedy="choose another --port",
        ) from error  # fmt: skip
    return listener
