# SPDX-License-Identifier: Apache-2.0
"""Notices from the stamps alone where one sequence of images ends and another begins. Imports nothing of ROS."""

from enum import Enum


class Step(Enum):
    """How an image's stamp follows the one before."""

    FORWARD = "forward"
    REPEATED = "repeated"
    BACKWARD = "backward"
    GAP = "gap"


class SequenceWatch:
    """Compares each stamp with the one before.

    Args:
        max_gap_ns: a longer step forward is a gap.
    """

    def __init__(self, max_gap_ns: int) -> None:
        self.max_gap_ns = max_gap_ns
        self._last_ns: int | None = None

    def check(self, stamp_ns: int) -> Step:
        """Take the next stamp, nanoseconds."""
        last, self._last_ns = self._last_ns, stamp_ns
        if last is None:
            return Step.FORWARD
        if stamp_ns == last:
            return Step.REPEATED
        if stamp_ns < last:
            return Step.BACKWARD
        return Step.GAP if stamp_ns - last > self.max_gap_ns else Step.FORWARD

    @property
    def has_begun(self) -> bool:
        """Whether a stamp was seen since the last reset."""
        return self._last_ns is not None

    def reset(self) -> None:
        """Forget the last stamp."""
        self._last_ns = None
