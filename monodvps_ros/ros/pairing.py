# SPDX-License-Identifier: Apache-2.0
"""Pairs each image with the camera_info of exactly its stamp. Imports nothing of ROS."""

from typing import Any

#: Messages kept on either side while they wait for the other.
CAPACITY = 10


class ExactPairing:
    """Holds images and camera_infos until both of one stamp are there.

    A stamp that comes twice replaces what waited under it; `clear` must be called when time jumps back, so that
    nothing of the old sequence is paired with the new one.
    """

    def __init__(self) -> None:
        self._images: dict[int, Any] = {}
        self._infos: dict[int, Any] = {}

    def add_image(self, stamp_ns: int, image: Any) -> tuple[tuple[Any, Any] | None, int]:
        """Take an image.

        Returns:
            The pair, where its camera_info was there already, and how many images were given up for this one.
        """
        info = self._infos.pop(stamp_ns, None)
        if info is not None:
            return (image, info), 0
        lost = _keep(self._images, stamp_ns, image)
        return None, lost

    def add_info(self, stamp_ns: int, info: Any) -> tuple[Any, Any] | None:
        """Take a camera_info; return the pair where its image was there already."""
        image = self._images.pop(stamp_ns, None)
        if image is not None:
            return image, info
        _keep(self._infos, stamp_ns, info)
        return None

    def clear(self) -> int:
        """Give up all that waits; return how many images that were."""
        lost = len(self._images)
        self._images.clear()
        self._infos.clear()
        return lost


def _keep(waiting: dict[int, Any], stamp_ns: int, message: Any) -> int:
    lost = int(waiting.pop(stamp_ns, None) is not None)
    waiting[stamp_ns] = message
    while len(waiting) > CAPACITY:
        waiting.pop(next(iter(waiting)))
        lost += 1
    return lost
