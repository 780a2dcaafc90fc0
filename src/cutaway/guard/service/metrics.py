"""Counters and histograms in Prometheus' text format (version 0.0.4), without a dependency."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


class Metrics:
    """Thread-safe; `text()` gives the page. Label values are our own words, never what a client sent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[str, dict[str, float]] = {}
        self._histograms: dict[str, tuple[tuple[float, ...], list[int], list[float]]] = {}
        self._gauges: dict[str, Callable[[], float]] = {}
        self._help: dict[str, str] = {}

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        key = ",".join(f'{k}="{v}"' for k, v in sorted(labels.items()))
        with self._lock:
            series = self._counters.setdefault(name, {})
            series[key] = series.get(key, 0) + amount

    def observe(self, name: str, value: float, bounds: tuple[float, ...] = SECONDS) -> None:
        """Add an observation to a histogram."""
        with self._lock:
            _, buckets, sums = self._histograms.setdefault(name, (bounds, [0] * (len(bounds) + 1), [0.0]))
            buckets[bisect_left(bounds, value)] += 1
            sums[0] += value

    def gauge(self, name: str, read: Callable[[], float]) -> None:
        """Register a gauge that is read when the page is made."""
        self._gauges[name] = read

    def value(self, name: str, **labels: str) -> float:
        """A counter's value, 0 where it never counted."""
        key = ",".join(f'{k}="{v}"' for k, v in sorted(labels.items()))
        return self._counters.get(name, {}).get(key, 0)

    def text(self) -> str:
        """All of it in the exposition format."""
        lines: list[str] = []
        with self._lock:
            for name, series in sorted(self._counters.items()):
                lines.append(f"# TYPE {name} counter")
                lines += [f"{name}{'{' + key + '}' if key else ''} {value:g}" for key, value in sorted(series.items())]
            for name, (bounds, buckets, sums) in sorted(self._histograms.items()):
                lines.append(f"# TYPE {name} histogram")
                total = 0
                for bound, number in zip((*bounds, float("inf")), buckets, strict=True):
                    total += number
                    edge = "+Inf" if bound == float("inf") else f"{bound:g}"
                    lines.append(f'{name}_bucket{{le="{edge}"}} {total}')
                lines += [f"{name}_sum {sums[0]:.9g}", f"{name}_count {total}"]
        for name, read in sorted(self._gauges.items()):
            lines += [f"# TYPE {name} gauge", f"{name} {read():g}"]
        return "\n".join(lines) + "\n"
