# SPDX-License-Identifier: Apache-2.0
"""Pictures, labels and depth in files: read with checks, written whole or not at all."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.image_size import is_cut_jpeg, oversized
from monodvps_ros.data.listing import list_folder
from monodvps_ros.errors import DataError, counted
from monodvps_ros.files import read_bytes, write_bytes

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")

#: Depth PNGs hold metres times this as uint16; 0 is none. So do KITTI, Cityscapes-DVPS and SemKITTI-DVPS.
DEPTH_SCALE = 256.0


def list_images(folder: Path) -> list[Path]:
    """List the images in a folder in natural order (2 before 10)."""
    return list_folder(folder, IMAGE_SUFFIXES)


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture.

    Returns:
        (H, W, 3) uint8, red, green, blue; grey is repeated, alpha dropped, 16 bits scaled to 8; rows as they lie in
        the file (a camera orientation in its metadata is not applied, K would not fit then).

    Raises:
        DataError: the file is missing or cannot be read as an image.
    """
    pixels = _read(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def read_map(path: Path, dtypes: Iterable[type], channels: int = 1) -> NDArray[Any]:
    """Read a label or depth map with its values as they are.

    Args:
        path: the file.
        dtypes: that its values may have.
        channels: 1, or 3 in the order red, green, blue.

    Returns:
        (H, W) or (H, W, 3) of the file's dtype.

    Raises:
        DataError: the file is missing, cannot be read, or has another dtype or number of channels.
    """
    values = _read(path, cv2.IMREAD_UNCHANGED)
    found = 1 if values.ndim == 2 else values.shape[2]
    names = " or ".join(np.dtype(dtype).name for dtype in dtypes)
    if found != channels or values.dtype not in list(dtypes):
        hint = "; colours, as of a palette, are not ids: convert them to one channel" if found > channels else ""
        there = f"{counted(found, 'channel')} of {values.dtype}"
        raise DataError(f"{path}: contains {there}; expected {channels} of {names}{hint}")
    return np.asarray(values if channels == 1 else cv2.cvtColor(values, cv2.COLOR_BGR2RGB))


def read_depth(path: Path) -> NDArray[np.float32]:
    """Read a depth PNG.

    Returns:
        (H, W) float32 metres; NaN where the file has 0.

    Raises:
        DataError: as `read_map` says; expected is uint16.
    """
    return depth_from_file(read_map(path, [np.uint16]))


def depth_from_file(values: NDArray[Any]) -> NDArray[np.float32]:
    """Turn uint16 metres times 256 into float32 metres; 0 becomes NaN."""
    depth_m: NDArray[np.float32] = values.astype(np.float32) / np.float32(DEPTH_SCALE)
    depth_m[values == 0] = np.nan
    return depth_m


def depth_to_file(depth_m: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Turn metres into uint16 metres times 256, rounded to the nearest.

    What is not finite or not above 0 becomes 0; what is nearer than 1/512 m becomes 1, for 0 says that there is none;
    what is farther than 255.996 m becomes 65535.
    """
    known = np.isfinite(depth_m) & (depth_m > 0)
    scaled = np.rint(np.where(known, depth_m, 0).astype(np.float64) * DEPTH_SCALE).clip(1, 65535)
    return np.where(known, scaled, 0).astype(np.uint16)


def write_image(path: Path, pixels: NDArray[Any], make_folder: bool = False) -> None:
    """Write a PNG, whole or not at all: a reader never sees a part of it.

    Args:
        path: of the file.
        pixels: (H, W), or (H, W, 3) red, green, blue; uint8 or uint16.
        make_folder: make the folder of the file; else it must exist.

    Raises:
        DataError: the array has another shape or dtype, or cannot be written.
    """
    if pixels.dtype not in (np.uint8, np.uint16) or not (pixels.ndim == 2 or pixels.shape[2:] == (3,)):
        raise DataError(f"{path}: an array {pixels.shape} of {pixels.dtype} is not an image of 8 or 16 bits")
    _, data = cv2.imencode(".png", pixels if pixels.ndim == 2 else pixels[..., ::-1])
    write_bytes(path, data.tobytes(), make_folder)


def _read(path: Path, flags: int) -> NDArray[Any]:
    if not path.is_file():
        raise DataError(f"{path}: does not exist")
    problem = oversized(path)
    if problem:
        raise DataError(f"{path}: {problem}")
    data = read_bytes(path)  # OpenCV's own reading ends the process where a name is not UTF-8
    try:
        values = None if not data or is_cut_jpeg(data) else cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        values = None
    if values is None:
        raise DataError(f"{path}: cannot be read as an image: it is damaged or of another format")
    return np.asarray(values)
