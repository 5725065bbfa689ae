# SPDX-License-Identifier: Apache-2.0
"""Pairs each image with the camera_info of exactly its stamp. Imports nothing of ROS."""

from typing import Any, Protocol

#: Messages kept on either side while they wait for the other.
CAPACITY = 10


class Pairing(Protocol):
    """What holds images and camera_infos until both of one stamp are there.

    A stamp that comes twice replaces what waited under it. Where a side's stamps jump back, as in a recording that is
    played in a loop, what that side still holds is given up. Each side by itself: the first camera_info of the new
    sequence may be there before its first image, or after it.

    Attributes:
        description: who does the pairing, in words.
    """

    description: str

    def add_image(self, stamp_ns: int, image: Any) -> tuple[tuple[Any, Any] | None, int]:
        """Take an image.

        Returns:
            The pair, where its camera_info was there already; and how many images were given up.
        """
        ...

    def add_info(self, stamp_ns: int, info: Any) -> tuple[Any, Any] | None:
        """Take a camera_info; return the pair, where its image was there already."""
        ...

    def clear_images(self) -> int:
        """Give up the images that wait; return how many that were."""
        ...


class DictPairing:
    """The pairing without message_filters: a dictionary by stamp on either side."""

    description = "by the node itself; message_filters is not installed"

    def __init__(self) -> None:
        self._images: dict[int, Any] = {}
        self._infos: dict[int, Any] = {}
        self._last_image_ns: int | None = None
        self._last_info_ns: int | None = None

    def add_image(self, stamp_ns: int, image: Any) -> tuple[tuple[Any, Any] | None, int]:
        """See `Pairing`."""
        lost = self.clear_images() if is_before(stamp_ns, self._last_image_ns) else 0
        self._last_image_ns = stamp_ns
        lost += _keep(self._images, stamp_ns, image)
        return self._take(stamp_ns), lost

    def add_info(self, stamp_ns: int, info: Any) -> tuple[Any, Any] | None:
        """See `Pairing`."""
        if is_before(stamp_ns, self._last_info_ns):
            self._infos.clear()
        self._last_info_ns = stamp_ns
        _keep(self._infos, stamp_ns, info)
        return self._take(stamp_ns)

    def clear_images(self) -> int:
        """See `Pairing`."""
        lost = len(self._images)
        self._images.clear()
        return lost

    def _take(self, stamp_ns: int) -> tuple[Any, Any] | None:
        if stamp_ns not in self._images or stamp_ns not in self._infos:
            return None
        return self._images.pop(stamp_ns), self._infos.pop(stamp_ns)


def is_before(stamp_ns: int, last_ns: int | None) -> bool:
    """Whether a stamp jumps back behind the last one."""
    return last_ns is not None and stamp_ns < last_ns


def _keep(waiting: dict[int, Any], stamp_ns: int, message: Any) -> int:
    lost = int(waiting.pop(stamp_ns, None) is not None)
    waiting[stamp_ns] = message
    while len(waiting) > CAPACITY:
        waiting.pop(next(iter(waiting)))
        lost += 1
    return lost
