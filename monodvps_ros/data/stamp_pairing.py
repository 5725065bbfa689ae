# SPDX-License-Identifier: Apache-2.0
"""Pairs each image with the camera_info of exactly its stamp. Imports nothing of ROS."""

from abc import ABC, abstractmethod
from typing import Any

#: Messages kept on either side while they wait for the other.
CAPACITY = 10

IMAGE, INFO = "image", "camera_info"


class StampPairing(ABC):
    """Holds images and camera_infos until both of one stamp are there, the newest `CAPACITY` stamps of either side.

    A stamp that comes twice replaces what waited under it. Where the stamps of either side jump back, as in a recording
    that is played in a loop, all that waits is dropped, and both sides start again.

    Attributes:
        description: who does the pairing, in words.
    """

    description: str

    def __init__(self) -> None:
        self._waiting: set[int] = set()  # stamps of the images
        self._lost = 0
        self._begin()

    def add_image(self, stamp_ns: int, image: Any) -> tuple[tuple[Any, Any] | None, int]:
        """Take an image.

        Returns:
            The pair, where its camera_info was there already; and how many images were given up since the last one.
        """
        self._watch(IMAGE, stamp_ns)
        self._lost += stamp_ns in self._waiting
        self._waiting.add(stamp_ns)
        pair = self._matched(IMAGE, stamp_ns, image)
        if len(self._waiting) > CAPACITY:
            self._waiting.remove(min(self._waiting))
            self._lost += 1
        return pair, self._take_lost()

    def add_info(self, stamp_ns: int, info: Any) -> tuple[Any, Any] | None:
        """Take a camera_info; return the pair, where its image was there already."""
        self._watch(INFO, stamp_ns)
        return self._matched(INFO, stamp_ns, info)

    def clear_images(self) -> int:
        """Give up all that waits; return how many images that were."""
        self._begin()
        return self._take_lost()

    @abstractmethod
    def _renew(self) -> None:
        """Forget all that waits."""

    @abstractmethod
    def _match(self, side: str, stamp_ns: int, message: Any) -> tuple[Any, Any] | None:
        """Take a message of a side, IMAGE or INFO; return the pair that it completes."""

    def _begin(self) -> None:
        self._lost += len(self._waiting)
        self._waiting.clear()
        self._last_ns: dict[str, int] = {}
        self._renew()

    def _watch(self, side: str, stamp_ns: int) -> None:
        if stamp_ns < self._last_ns.get(side, stamp_ns):
            self._begin()
        self._last_ns[side] = stamp_ns

    def _matched(self, side: str, stamp_ns: int, message: Any) -> tuple[Any, Any] | None:
        pair = self._match(side, stamp_ns, message)
        if pair is not None:
            self._waiting.discard(stamp_ns)
        return pair

    def _take_lost(self) -> int:
        lost, self._lost = self._lost, 0
        return lost


class DictPairing(StampPairing):
    """The pairing without message_filters: a dictionary by stamp on either side."""

    description = "by the node itself; message_filters is not installed"

    def _renew(self) -> None:
        self._held: dict[str, dict[int, Any]] = {IMAGE: {}, INFO: {}}

    def _match(self, side: str, stamp_ns: int, message: Any) -> tuple[Any, Any] | None:
        held = self._held[side]
        held[stamp_ns] = message
        if len(held) > CAPACITY:
            del held[min(held)]
        images, infos = self._held[IMAGE], self._held[INFO]
        if stamp_ns not in images or stamp_ns not in infos:
            return None
        return images.pop(stamp_ns), infos.pop(stamp_ns)
