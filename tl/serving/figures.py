"""Counts and times of a server, as Prometheus reads them."""

from __future__ import annotations

import bisect
from collections import Counter

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds


class Figures:
    """Requests by path and status, their times, and how many images came and how they were batched."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.times = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0
        self.images = self.busy = 0

    def add(self, path: str, status: int, seconds: float) -> None:
        self.requests[path, status] += 1
        self.times[bisect.bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def text(self, batches: dict[int, int]) -> str:
        """The exposition format, version 0.0.4; `batches`: images in a call of the network -> calls."""
        lines = ["# TYPE tl_requests_total counter"]
        for (path, status), count in sorted(self.requests.items()):
            lines.append(f'tl_requests_total{{path="{path}",status="{status}"}} {count}')
        lines.append("# TYPE tl_request_seconds histogram")
        total = 0
        for bound, count in zip((*BOUNDS, "+Inf"), self.times, strict=True):
            total += count
            lines.append(f'tl_request_seconds_bucket{{le="{bound}"}} {total}')
        lines += [f"tl_request_seconds_sum {self.seconds}", f"tl_request_seconds_count {total}"]
        for name, kind, value in (
            ("tl_images_total", "counter", self.images),
            ("tl_requests_in_flight", "gauge", self.busy),
            ("tl_batches_total", "counter", sum(batches.values())),
            ("tl_batched_images_total", "counter", sum(size * calls for size, calls in batches.items())),
        ):
            lines += [f"# TYPE {name} {kind}", f"{name} {value}"]
        return "\n".join(lines) + "\n"
