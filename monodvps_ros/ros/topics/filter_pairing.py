# SPDX-License-Identifier: Apache-2.0
"""Pairs image and camera_info by `message_filters.TimeSynchronizer`, where that is installed."""

from dataclasses import dataclass
from typing import Any

from std_msgs.msg import Header

from monodvps_ros.data.stamp_pairing import CAPACITY, IMAGE, INFO, DictPairing, StampPairing
from monodvps_ros.ros.topics.conversions import stamp_from_ns

#: Why message_filters cannot be loaded although it is there; empty where it is loaded, or not installed.
problem = ""
try:
    from message_filters import SimpleFilter, TimeSynchronizer
except Exception as error:  # one of another distribution raises what it likes
    TimeSynchronizer = None
    if not (isinstance(error, ModuleNotFoundError) and error.name == "message_filters"):
        problem = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


@dataclass(frozen=True, eq=False)
class _Stamped:
    """What waits, in the shape in which a TimeSynchronizer takes it: with a header."""

    header: Header
    content: Any


class FilterPairing(StampPairing):
    """The pairing by a `TimeSynchronizer`; a new one after a jump back, since it keeps the greatest stamps."""

    description = "by message_filters"

    def _renew(self) -> None:
        self._inputs = {IMAGE: SimpleFilter(), INFO: SimpleFilter()}
        self._pair: tuple[Any, Any] | None = None
        TimeSynchronizer(list(self._inputs.values()), CAPACITY).registerCallback(self._on_pair)

    def _match(self, side: str, stamp_ns: int, message: Any) -> tuple[Any, Any] | None:
        if stamp_ns < 0:  # rclpy's Time, by which it compares, refuses these with an exception, under its lock
            self._lost += stamp_ns in self._waiting
            self._waiting.discard(stamp_ns)
            return None
        self._inputs[side].signalMessage(_Stamped(Header(stamp=stamp_from_ns(stamp_ns)), message))
        pair, self._pair = self._pair, None
        return pair

    def _on_pair(self, image: _Stamped, info: _Stamped) -> None:
        """Only keep the pair: this is called under the synchronizer's lock."""
        self._pair = (image.content, info.content)


def exact_pairing() -> StampPairing:
    """Return the pairing of message_filters; our own where that cannot be loaded."""
    return DictPairing() if TimeSynchronizer is None else FilterPairing()
