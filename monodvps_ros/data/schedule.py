# SPDX-License-Identifier: Apache-2.0
"""When to publish each frame of a recording, so that it plays at the rate at which it was recorded."""

import time

#: A pause in a recording that is longer than this many frame periods is a cut: the next frame follows after one period.
LONGEST_PAUSE_PERIODS = 50


class Schedule:
    """Turns the stamps of a recording into times of the playing machine's clock.

    Within a recording, frames are due as far apart as their stamps, divided by the rate. Where stamps stand still or go
    back (a new sequence, the start of a loop) or leap ahead (a cut), the next frame is due one nominal period later.

    Args:
        rate_hz: nominal frames per second of the recording.
        speed: 2 plays twice as fast; above 0.

    Raises:
        ValueError: `rate_hz` or `speed` is not above 0.
    """

    def __init__(self, rate_hz: float, speed: float = 1.0) -> None:
        if not rate_hz > 0:
            raise ValueError(f"rate_hz is {rate_hz}; it must be above 0")
        if not speed > 0:
            raise ValueError(f"speed is {speed}; it must be above 0")
        self._period_s = 1.0 / rate_hz
        self._speed = speed
        self._last_stamp_ns: int | None = None
        self._due_s = 0.0

    @property
    def period_s(self) -> float:
        """Seconds between two frames at the nominal rate, as played."""
        return self._period_s / self._speed

    def due_s(self, stamp_ns: int, now_s: float | None = None) -> float:
        """Return when the next frame is to be published.

        Args:
            stamp_ns: stamp of the frame; frames are given in the order in which they are played.
            now_s: time of the clock in which the answer is given; None reads `time.monotonic`. Only the first frame
                looks at it: that one is due at once.
        """
        if self._last_stamp_ns is None:
            self._due_s = time.monotonic() if now_s is None else now_s
        else:
            step_s = (stamp_ns - self._last_stamp_ns) * 1e-9
            if not 0 < step_s <= LONGEST_PAUSE_PERIODS * self._period_s:
                step_s = self._period_s
            self._due_s += step_s / self._speed
        self._last_stamp_ns = stamp_ns
        return self._due_s
