# SPDX-License-Identifier: Apache-2.0
"""Notices from the stamps alone where one sequence of images ends and another begins. Imports nothing of ROS."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from monodvps_ros.errors import counted

T = TypeVar("T")


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


@dataclass
class LeftOut:
    """Counts what `in_order` leaves out.

    Attributes:
        repeated: stamps that are the one before again.
        backward: stamps before the one before, where time does not go on from them.
        unstamped: stamps of 0, which ROS takes for "no time", or below.
        sequences: how many began, the first included.
    """

    repeated: int = 0
    backward: int = 0
    unstamped: int = 0
    sequences: int = 1

    def __str__(self) -> str:
        """Say the counts in words; empty where nothing is left out."""
        parts = [
            (self.repeated, "stamp repeats the one before", "stamps repeat the one before"),
            (self.backward, "stamp goes back", "stamps go back"),
            (self.unstamped, "stamp is 0 or below", "stamps are 0 or below"),
        ]
        return ", ".join(counted(*part) for part in parts if part[0])


def in_order(items: Iterable[T], stamp_of: Callable[[T], int], left_out: LeftOut) -> Iterator[tuple[int, T]]:
    """Give the items whose stamps go forward, each with the number of its sequence, from 0.

    A stamp that goes back is left out where the next one is after those before it; where time goes on from it instead
    (a simulation started again, a recording of a loop), a new sequence begins with it.

    Args:
        items: in the order in which they were received.
        stamp_of: gives the stamp of an item in nanoseconds.
        left_out: counts the skipped frames.
    """
    number, held = 0, None
    last: int | None = None
    for item in items:
        stamp = stamp_of(item)
        if stamp <= 0:
            left_out.unstamped += 1
            continue
        if held is not None and last is not None:
            if held[0] < stamp <= last:
                number += 1
                left_out.sequences += 1
                yield number, held[1]
                last = held[0]
            else:
                left_out.backward += 1
            held = None
        if last is None or stamp > last:
            yield number, item
            last = stamp
        elif stamp == last:
            left_out.repeated += 1
        else:
            held = stamp, item
    left_out.backward += held is not None
