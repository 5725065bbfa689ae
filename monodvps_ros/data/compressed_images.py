# SPDX-License-Identifier: Apache-2.0
"""Images compressed as image_transport's plugins compress them, so that these decompress them.

Formats are those of ``sensor_msgs/CompressedImage``: "<encoding before>; <codec> compressed <encoding after>" for
pictures, "<encoding before>; compressedDepth png" for maps. A compressedDepth message is 12 bytes, an int32 (0: inverse
depth) and the float32 A and B, and then a 16-bit PNG. The code n of a 32FC1 map stands for the depth A / (n - B), 0 for
none; a 16UC1 map is stored as it is. Source: compressed_image_transport and compressed_depth_image_transport of ROS 2.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from monodvps_ros.errors import EncodingError
from monodvps_ros.outputs import DEPTH_FORMAT, IDS_FORMAT, JPEG_FORMAT

JPEG_QUALITY = 90
#: A at most, which gives steps of z^2 / A metres: 1 cm at 10 m. compressed_depth_image_transport's default.
MAX_PRECISION = 100.0 * (100.0 + 1.0)

_HEADER = np.dtype([("kind", "<i4"), ("a", "<f4"), ("b", "<f4")])
_INVERSE_DEPTH = 0
_MOST = np.iinfo(np.uint16).max
_PNG_OPTIONS = (cv2.IMWRITE_PNG_COMPRESSION, 1)


def compress(pixels: NDArray[Any], format: str) -> NDArray[np.uint8]:
    """Compress an image.

    Args:
        pixels: (H, W, 3) uint8 red, green, blue; (H, W) float32 metres, NaN where there is none; or (H, W) uint16.
        format: `JPEG_FORMAT`, `DEPTH_FORMAT` or `IDS_FORMAT` of `outputs`, respectively.

    Returns:
        The data of the message, (N,) uint8. Inverse depth is exact to 1 / (2 A), with A of `MAX_PRECISION` or, where
        the depths of the frame span too wide a range for 16 bits, less.

    Raises:
        EncodingError: the format is another, or the pixels do not fit it.
    """
    if format not in _LAYOUTS:
        raise EncodingError(f"cannot compress to '{format}'; there are: {', '.join(_LAYOUTS)}")
    dtype, dimensions = _LAYOUTS[format]
    if pixels.dtype != dtype or pixels.ndim != dimensions or pixels.size == 0:
        raise EncodingError(
            f"'{format}' takes {np.dtype(dtype)} pixels of {dimensions} axes but got {pixels.dtype} {pixels.shape}"
        )
    if format == JPEG_FORMAT:
        return _encode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    header = np.zeros((), _HEADER)
    header["kind"] = _INVERSE_DEPTH
    if format == DEPTH_FORMAT:
        pixels, header["a"], header["b"] = _quantise(pixels)
    return np.concatenate((header.reshape(1).view(np.uint8), _encode(".png", pixels, _PNG_OPTIONS)))


def _quantise(depth_m: NDArray[np.float32]) -> tuple[NDArray[np.uint16], float, float]:
    """Code a depth map by inverse depth, the farthest as 1; returns the codes, A and B."""
    known = np.isfinite(depth_m) & (depth_m > 0)
    if not known.any():
        return np.zeros(depth_m.shape, np.uint16), 1.0, 0.0
    inverse = np.divide(1.0, depth_m, where=known, out=np.zeros_like(depth_m))
    near, far = float(inverse.max()), float(inverse[known].min())
    a = min(MAX_PRECISION, (_MOST - 1) / max(near - far, 1e-9))
    b = 1.0 - a * far
    codes = np.where(known, np.rint(inverse * a + b), 0.0)
    return np.clip(codes, 0, _MOST).astype(np.uint16), a, b


def _encode(suffix: str, pixels: Any, options: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(cv2.imencode(suffix, pixels, options)[1], np.uint8).reshape(-1)


_LAYOUTS: dict[str, tuple[type, int]] = {
    JPEG_FORMAT: (np.uint8, 3),
    DEPTH_FORMAT: (np.float32, 2),
    IDS_FORMAT: (np.uint16, 2),
}
