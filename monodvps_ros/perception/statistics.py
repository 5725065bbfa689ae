# SPDX-License-Identifier: Apache-2.0
"""Counters, rates and latencies of one camera.

Every image received is exactly one of: processed, idle (the last subscriber left), dropped for a reason, waiting.
"""

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass

import numpy as np

#: Window of the rates.
WINDOW_S = 5.0
#: Latencies kept for percentiles.
LATENCIES = 500

#: Why an image was dropped.
REPLACED = "replaced by a newer image"
LIMITED = "above max_rate_hz"
UNDECODABLE = "cannot be decoded"
UNPAIRED = "no camera_info with its stamp"
REPEATED = "its stamp repeats the one before"
UNSTAMPED = "its stamp is 0"
FAILED = "processing failed"
STOPPED = "node was deactivated"
DROP_REASONS = (REPLACED, LIMITED, UNDECODABLE, UNPAIRED, REPEATED, UNSTAMPED, FAILED, STOPPED)


@dataclass(frozen=True)
class Snapshot:
    """The state of a camera's counters at one moment.

    Attributes:
        received: images that reached the node.
        processed: images that an output was published for.
        not_finite: those of them for which the network gave NaN or infinite numbers.
        idle: images that were on their way when the last subscriber of an output left.
        dropped: images dropped, by reason.
        dropped_lately: those of the last seconds.
        input_rate_hz: images received a second, over the last seconds.
        output_rate_hz: the same of images processed.
        latency_p50_ms: from reception to the last output published, of the last frames; NaN before the first.
        latency_p90_ms: the same, 90 % of frames are faster.
        latency_max_ms: the same, slowest since the start.
        resets: how often the tracker was reset by a jump of time.
        since_received_s: seconds since the last image came; None before the first.
        last_error: the last error, with the image's stamp; empty before the first.
        since_error_s: seconds since then; None before the first.
    """

    received: int
    processed: int
    not_finite: int
    idle: int
    dropped: dict[str, int]
    dropped_lately: dict[str, int]
    input_rate_hz: float
    output_rate_hz: float
    latency_p50_ms: float
    latency_p90_ms: float
    latency_max_ms: float
    resets: int
    since_received_s: float | None
    last_error: str
    since_error_s: float | None

    @property
    def dropped_total(self) -> int:
        """Images dropped for any reason."""
        return sum(self.dropped.values())


class Statistics:
    """Thread-safe counters."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter(dict.fromkeys(DROP_REASONS, 0))
        self._lately: deque[tuple[float, str]] = deque(maxlen=1000)
        self._received_at: deque[float] = deque(maxlen=1000)
        self._processed_at: deque[float] = deque(maxlen=1000)
        self._latencies_ms: deque[float] = deque(maxlen=LATENCIES)
        self._latency_max_ms = float("nan")
        self._last_error = ""
        self._error_at: float | None = None

    def count_received(self) -> None:
        """Count an image that reached the node."""
        with self._lock:
            self._counts["received"] += 1
            self._received_at.append(time.monotonic())

    def count_processed(self, latency_ms: float) -> bool:
        """Count an image whose outputs are published; true for the first one."""
        with self._lock:
            self._counts["processed"] += 1
            self._processed_at.append(time.monotonic())
            self._latencies_ms.append(latency_ms)
            self._latency_max_ms = float(np.fmax(self._latency_max_ms, latency_ms))
            return self._counts["processed"] == 1

    def count_not_finite(self) -> None:
        """Count an image for which the network gave numbers that are not finite."""
        with self._lock:
            self._counts["not finite"] += 1

    def count_idle(self) -> None:
        """Count an image that no output has a subscriber for any more."""
        with self._lock:
            self._counts["idle"] += 1

    def count_dropped(self, reason: str) -> None:
        """Count a dropped image under one of `DROP_REASONS`."""
        with self._lock:
            self._dropped[reason] += 1
            self._lately.append((time.monotonic(), reason))

    def count_reset(self) -> None:
        """Count a reset of the tracker."""
        with self._lock:
            self._counts["resets"] += 1

    def note_error(self, text: str) -> None:
        """Keep the last error."""
        with self._lock:
            self._last_error, self._error_at = text, time.monotonic()

    def snapshot(self) -> Snapshot:
        """Return all counters at one moment."""
        with self._lock:
            now = time.monotonic()
            latencies = np.array(self._latencies_ms or [np.nan])
            return Snapshot(
                received=self._counts["received"],
                processed=self._counts["processed"],
                not_finite=self._counts["not finite"],
                idle=self._counts["idle"],
                dropped=dict(self._dropped),
                dropped_lately=dict(Counter(reason for at, reason in self._lately if now - at <= WINDOW_S)),
                input_rate_hz=_rate_hz(self._received_at, now),
                output_rate_hz=_rate_hz(self._processed_at, now),
                latency_p50_ms=float(np.percentile(latencies, 50)),
                latency_p90_ms=float(np.percentile(latencies, 90)),
                latency_max_ms=self._latency_max_ms,
                resets=self._counts["resets"],
                since_received_s=now - self._received_at[-1] if self._received_at else None,
                last_error=self._last_error,
                since_error_s=None if self._error_at is None else now - self._error_at,
            )


def _rate_hz(times: deque[float], now: float) -> float:
    """Return events a second in the window: intervals between events, so that two events are enough."""
    recent = [at for at in times if now - at <= WINDOW_S]
    if len(recent) < 2 or recent[-1] == recent[0]:
        return 0.0
    return (len(recent) - 1) / (recent[-1] - recent[0])
