# SPDX-License-Identifier: Apache-2.0
"""Where a camera sees the car that carries it."""

import re
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.checks import check_size
from monodvps_ros.data.image_files import read_map
from monodvps_ros.data.manifest import file_digest
from monodvps_ros.errors import ConfigError

_POINT = re.compile(r"(-?\d+(?:\.\d+)?),(-?\d+(?:\.\d+)?)")


class EgoRegion:
    """The part of the image that shows the ego car: of a file, or within a polygon.

    Args:
        file: a grey PNG of the images' size, uint8; above 0 is the car.
        polygon: corners ``u,v u,v u,v`` in pixels of the images.

    Attributes:
        made_with: what must be the same for the region to be the same.

    Raises:
        ConfigError: the polygon is not one; or not just one of the two is given.
        DataError: the file cannot be read.
    """

    def __init__(self, file: Path | None = None, polygon: str | None = None) -> None:
        if (file is None) == (polygon is None):
            raise ConfigError("give either a file or a polygon for the region of the ego car")
        self._file = file
        self._pixels: NDArray[np.bool_] | None = None
        self._corners: NDArray[np.float64] | None = None
        if polygon is not None:
            self._corners = parse_polygon(polygon)
            self.made_with = polygon
        elif file is not None:
            self._pixels = read_map(file, [np.uint8]) > 0
            self.made_with = f"sha256 {file_digest(file)}"

    def mask(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the region in an image of a size (height, width), as bool.

        Raises:
            DataError: the file has another size.
        """
        if self._pixels is not None:
            check_size(self._pixels.shape, size, str(self._file))
            return self._pixels
        assert self._corners is not None
        drawn = np.zeros(size, np.uint8)
        cv2.fillPoly(drawn, [np.rint(self._corners).astype(np.int32)], 1)
        return drawn > 0


def parse_polygon(text: str) -> NDArray[np.float64]:
    """Read ``u,v u,v u,v``, at least three corners, as (N, 2).

    Raises:
        ConfigError: the text is not of that form.
    """
    matches = [_POINT.fullmatch(word) for word in text.split()]
    corners = [(float(match[1]), float(match[2])) for match in matches if match is not None]
    if len(corners) < 3 or len(corners) != len(matches):
        raise ConfigError(f"polygon is '{text}'; expected at least three corners 'u,v u,v u,v' in pixels of the images")
    return np.array(corners)
