"""Limits of the service. Seconds, bytes, characters and counts; every limit has its own HTTP status."""

from __future__ import annotations

import os
from dataclasses import dataclass

from cutaway.errors import InputError

KEY_VARIABLE = "CUTAWAY_GUARD_KEY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """max_chars: longest prompt (413). max_prompts: most prompts in a batch (413). max_pieces: most pieces of
    a stream (413). max_bytes: largest body (413). body_seconds: time to send it, in a stream the longest pause (408).
    stream_seconds: time to send a whole stream (408). request_seconds: time to answer (504). queue:
    most prompts waiting (503). batch: most prompts in one forward pass; wait_seconds: how long the first waits for
    company. workers: processes that compute, 0 for a thread of the server. connections: most open requests (503).
    stop_seconds: how long a stop waits for accepted requests."""

    max_chars: int = 100_000
    max_prompts: int = 64
    max_pieces: int = 4096
    max_bytes: int = 2_000_000
    body_seconds: float = 10.0
    stream_seconds: float = 300.0
    request_seconds: float = 60.0
    queue: int = 512
    batch: int = 16
    wait_seconds: float = 0.002
    workers: int = 0
    connections: int = 512
    stop_seconds: int = 30
    log_prompts: bool = False

    def __post_init__(self) -> None:
        for name in (
            "max_chars", "max_prompts", "max_pieces", "max_bytes", "queue", "batch", "connections", "body_seconds",
            "stream_seconds",
        ):  # fmt: skip
            if getattr(self, name) <= 0:
                raise InputError(f"setting {name}", found=str(getattr(self, name)), expected="above 0")
        if self.workers < 0:
            raise InputError("setting workers", found=str(self.workers), expected="0 or more")


def api_key() -> bytes | None:
    """The key that requests must carry, from the environment; None when none is asked for."""
    key = os.environ.get(KEY_VARIABLE, "")
    return key.encode() if key else None
