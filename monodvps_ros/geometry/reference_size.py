# SPDX-License-Identifier: Apache-2.0
"""Constants in pixels of the images that the model was published for, brought to images of another size.

Panoptic-DeepLab and MonoDVPS give areas, windows and deviations in pixels of Cityscapes images, 1024 x 2048. An area
goes with the number of pixels, a length with its square root.
"""

import math

#: Height and width that published constants are given for.
REFERENCE_SIZE = (1024, 2048)


def scale_area(area_px: float, size: tuple[int, int]) -> float:
    """Return an area, in pixels of a 1024 x 2048 image, in pixels of an image of `size` (height, width)."""
    return area_px * size[0] * size[1] / (REFERENCE_SIZE[0] * REFERENCE_SIZE[1])


def scale_length(length_px: float, size: tuple[int, int]) -> float:
    """Return a length, in pixels of a 1024 x 2048 image, in pixels of an image of `size` (height, width)."""
    return length_px * math.sqrt(scale_area(1.0, size))


def scale_window(window_px: int, size: tuple[int, int]) -> int:
    """Return the odd number nearest to a window's scaled length; at least 3, unless the window itself is smaller."""
    return max(min(window_px, 3), 2 * round((scale_length(window_px, size) - 1) / 2) + 1)
