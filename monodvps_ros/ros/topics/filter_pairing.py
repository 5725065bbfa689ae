# SPDX-License-Identifier: Apache-2.0
"""The pairing of message_filters, where that is installed, made to hold what `Pairing` promises.

Three faults of its Python `TimeSynchronizer` are mended around it: it does not count what it drops; after a jump back
of the stamps it drops whatever comes until they have passed the old ones, so that a recording played in a loop yields
hardly a pair; and it never lets go of its lock once an exception passed through it.
"""

from dataclasses import dataclass
from typing import Any

from std_msgs.msg import Header

from monodvps_ros.data.stamp_pairing import CAPACITY, DictPairing, Pairing, is_before
from monodvps_ros.ros.topics.conversions import stamp_from_ns

try:
    from message_filters import SimpleFilter, TimeSynchronizer
except ImportError:
    TimeSynchronizer = None

_IMAGES, _INFOS = 0, 1


@dataclass(frozen=True, eq=False)
class _Stamped:
    """What waits, in the shape in which a TimeSynchronizer takes it: with a header."""

    header: Header
    content: Any


class FilterPairing:
    """The pairing by `message_filters.TimeSynchronizer`."""

    description = "by message_filters"

    def __init__(self) -> None:
        self._inputs = [SimpleFilter(), SimpleFilter()]
        self._synchronizer = TimeSynchronizer(self._inputs, CAPACITY)
        self._synchronizer.registerCallback(self._on_pair)
        self._last_ns: list[int | None] = [None, None]
        self._pair: tuple[Any, Any] | None = None

    def add_image(self, stamp_ns: int, image: Any) -> tuple[tuple[Any, Any] | None, int]:
        """See `Pairing`."""
        waited = len(self._waiting(_IMAGES))
        pair = self._add(_IMAGES, stamp_ns, image)
        return pair, waited + 1 - int(pair is not None) - len(self._waiting(_IMAGES))

    def add_info(self, stamp_ns: int, info: Any) -> tuple[Any, Any] | None:
        """See `Pairing`."""
        return self._add(_INFOS, stamp_ns, info)

    def clear_images(self) -> int:
        """See `Pairing`."""
        lost = len(self._waiting(_IMAGES))
        self._waiting(_IMAGES).clear()
        return lost

    def _waiting(self, side: int) -> dict[int, _Stamped]:
        waiting: dict[int, _Stamped] = self._synchronizer.queues[side]
        return waiting

    def _add(self, side: int, stamp_ns: int, content: Any) -> tuple[Any, Any] | None:
        if is_before(stamp_ns, self._last_ns[side]):
            self._waiting(side).clear()
        self._last_ns[side] = stamp_ns
        if stamp_ns < 0:  # rclpy's Time, which it compares by, refuses these with an exception, under the lock
            return None
        self._inputs[side].signalMessage(_Stamped(Header(stamp=stamp_from_ns(stamp_ns)), content))
        pair, self._pair = self._pair, None
        return pair

    def _on_pair(self, image: _Stamped, info: _Stamped) -> None:
        """Only keep the pair: this is called under the synchronizer's lock."""
        self._pair = (image.content, info.content)


def exact_pairing() -> Pairing:
    """Return the pairing of message_filters; our own where that is not installed."""
    return DictPairing() if TimeSynchronizer is None else FilterPairing()
