"""Counts and times of requests, in Prometheus' text format; nothing of what the gallery holds."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """What was answered since the start of the service."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds: Counter[str] = Counter()
        self._buckets: Counter[tuple[str, float]] = Counter()
        self.running = 0

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        with self._guard:
            self._requests[method, route, status] += 1
            self._seconds[route] += seconds  # type: ignore[assignment] # a Counter adds floats as well
            for limit in BUCKETS:
                if seconds <= limit:
                    self._buckets[route, limit] += 1

    def text(self, jobs: dict[str, int]) -> str:
        """Return everything; `jobs` is the number of jobs by state."""
        with self._guard:
            return "\n".join([*self._lines(jobs), ""])

    def _lines(self, jobs: dict[str, int]) -> Iterator[str]:
        yield "# HELP rewho_requests_total Answered requests."
        yield "# TYPE rewho_requests_total counter"
        for (method, route, status), count in sorted(self._requests.items()):
            labels = f'method="{_escape(method)}",route="{_escape(route)}",status="{status}"'
            yield f"rewho_requests_total{{{labels}}} {count}"
        yield "# HELP rewho_request_seconds Time from a request to its answer."
        yield "# TYPE rewho_request_seconds histogram"
        totals: Counter[str] = Counter()
        for (_, route, _), count in self._requests.items():
            totals[route] += count
        for route, count in sorted(totals.items()):
            name = f'route="{_escape(route)}"'
            for limit in BUCKETS:
                yield f'rewho_request_seconds_bucket{{{name},le="{limit:g}"}} {self._buckets[route, limit]}'
            yield f'rewho_request_seconds_bucket{{{name},le="+Inf"}} {count}'
            yield f"rewho_request_seconds_sum{{{name}}} {self._seconds[route]:.6f}"
            yield f"rewho_request_seconds_count{{{name}}} {count}"
        yield "# HELP rewho_requests_running Requests that are being answered."
        yield "# TYPE rewho_requests_running gauge"
        yield f"rewho_requests_running {self.running}"
        yield "# HELP rewho_jobs Jobs by state."
        yield "# TYPE rewho_jobs gauge"
        for state, count in sorted(jobs.items()):
            yield f'rewho_jobs{{state="{_escape(state)}"}} {count}'


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
