"""Limits of the service. Seconds, bytes, characters and counts; every limit has its own HTTP status."""

from __future__ import annotations

from dataclasses import dataclass, fields

from cutaway.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """What a client may send, how long each step may take, and how much may be open at once.

    max_chars: longest prompt, as sent and after normalisation (413).
    max_prompts: most prompts in a batch (413).
    max_pieces: most pieces of a stream (413).
    max_bytes: largest body (413).
    max_held_bytes: bodies held at once; beyond it, bodies over 64 KiB get 503.
    header_seconds: from a connection, or the last answer on it, to complete headers; then it is closed.
    body_seconds: time to send a body, in a stream the longest pause (408).
    stream_seconds: time to send a whole stream (408).
    request_seconds: time to answer (504); a worker that needs longer for a batch is started again.
    sockets: connections that may wait on their clients; beyond it the longest waiting is closed.
    queue: most prompts waiting (503).
    batch_size: most prompts in one forward pass; batch_chars: most characters of them together.
    wait_seconds: how long the first prompt of a batch waits for company.
    workers: processes that compute, 0 for a thread of the server.
    stop_seconds: how long a stop waits for accepted requests; above body_seconds + request_seconds it cuts none.
    log_prompts: whether prompts are written into the log.
    explain: whether /v1/explain is there, which shows clients the prompts that the guardrail was fitted on.
    """

    max_chars: int = 100_000
    max_prompts: int = 64
    max_pieces: int = 4096
    max_bytes: int = 2_000_000
    max_held_bytes: int = 128_000_000
    header_seconds: float = 10.0
    body_seconds: float = 10.0
    stream_seconds: float = 300.0
    request_seconds: float = 60.0
    sockets: int = 4096
    queue: int = 512
    batch_size: int = 16
    batch_chars: int = 50_000
    wait_seconds: float = 0.002
    workers: int = 0
    stop_seconds: float = 75.0
    log_prompts: bool = False
    explain: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), 0 if field.name in ("workers", "wait_seconds") else None
            if field.name in ("log_prompts", "explain"):
                continue
            if least == 0 and value < 0:
                raise InputError(
                    f"setting {field.name}", found=str(value), expected="0 or more", remedy="give such a number"
                )
            if least is None and value <= 0:
                raise InputError(
                    f"setting {field.name}", found=str(value), expected="above 0", remedy="give such a number"
                )
