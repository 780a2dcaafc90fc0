"""What the service counts, for Prometheus (`GET /metrics`)."""

from __future__ import annotations

from cutaway.errors import MissingExtra

try:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
except ImportError as error:
    raise MissingExtra.of("prometheus_client", "serve") from error

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


class Metrics:
    """One registry a service. Label values are our own words, never what a client sent."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        ProcessCollector(registry=own)  # memory, CPU seconds, open files
        self.requests = Counter("guard_requests", "Requests by path and status", ["path", "code"], registry=own)
        self.request_seconds = Histogram("guard_request_seconds", "Time to answer", buckets=SECONDS, registry=own)
        self.prompts = Counter("guard_prompts", "Prompts by verdict", ["verdict"], registry=own)
        self.long_prompts = Counter("guard_prompts_truncated", "Prompts longer than one window", registry=own)
        self.streams_refused = Counter("guard_streams_refused", "Streams ended early", ["code"], registry=own)
        self.batch_prompts = Histogram("guard_batch_prompts", "Prompts in one batch", buckets=SIZES, registry=own)
        self.prompts_waiting = Gauge("guard_prompts_waiting", "Prompts accepted and not answered", registry=own)
        self.worker_restarts = Counter("guard_worker_restarts", "Worker processes started again", registry=own)
        self.workers_loaded = Gauge("guard_workers_loaded", "Workers that can answer", registry=own)
        self.sockets_waiting = Gauge("guard_sockets_waiting", "Connections that wait on their client", registry=own)
        self.sockets_closed = Counter(
            "guard_sockets_closed", "Connections that kept the server waiting", ["reason"], registry=own
        )

    def value(self, name: str, **labels: str) -> float:
        """The present value of a series, 0 where it never counted."""
        return self.registry.get_sample_value(name, labels) or 0.0

    def text(self) -> str:
        """All of it in the exposition format."""
        return generate_latest(self.registry).decode()
