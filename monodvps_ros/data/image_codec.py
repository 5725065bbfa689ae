# SPDX-License-Identifier: Apache-2.0
"""Pixels of image messages: from bytes to arrays and back; shared by bags and by the ROS node.

`decode_image` and `decode_compressed` give colour pictures, `decode_raw` gives measured maps (depth, labels, flow) as
they are, `encode_image` lays an array out for a message.

What is decided here: 16-bit pictures are scaled over the whole range of 16 bits (``round(value / 257)``), so a 12-bit
sensor that does not fill the range looks dark. ``8UC1``, as infrared cameras send it, is grey. ``8UC3`` and ``16UC1``
are refused as pictures: they do not say the order of colours, or whether the values are brightness at all.
"""

import re
import sys
from array import array
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.image_size import MAX_PIXELS, is_cut_jpeg, oversized
from monodvps_ros.errors import EncodingError, counted, shortened

Bytes: TypeAlias = "bytes | bytearray | memoryview | array[int] | NDArray[np.uint8]"

#: Encodings whose pixels cv2 turns into red, green, blue: bits of a channel, channels, cv2's code (None: none needed).
_PICTURES: dict[str, tuple[int, int, int | None]] = {
    "rgb8": (8, 3, None),
    "bgr8": (8, 3, cv2.COLOR_BGR2RGB),
    "rgba8": (8, 4, cv2.COLOR_RGBA2RGB),
    "bgra8": (8, 4, cv2.COLOR_BGRA2RGB),
    "mono8": (8, 1, cv2.COLOR_GRAY2RGB),
    "8UC1": (8, 1, cv2.COLOR_GRAY2RGB),
    "mono16": (16, 1, cv2.COLOR_GRAY2RGB),
    # cv2 names a pattern by its second row and column, ROS by its first.
    "bayer_rggb8": (8, 1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (8, 1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (8, 1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (8, 1, cv2.COLOR_BayerGB2RGB),
    "bayer_rggb16": (16, 1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr16": (16, 1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg16": (16, 1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg16": (16, 1, cv2.COLOR_BayerGB2RGB),
    "yuv422": (8, 2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (8, 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (8, 2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (8, 2, cv2.COLOR_YUV2RGB_YUY2),
    # A plane of Y, below it half as many rows of U and V in turn (nv21: V and U), one pair for 2 x 2 pixels.
    "nv12": (8, 1, cv2.COLOR_YUV2RGB_NV12),
    "nv21": (8, 1, cv2.COLOR_YUV2RGB_NV21),
}

#: Encodings that `decode_image` takes.
PICTURE_ENCODINGS = tuple(_PICTURES)

_SEMI_PLANAR = {"nv12", "nv21"}
_COMPRESSED_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # of JPEG and PNG
_LEAST_BAYER_SIZE = 3  # cv2 interpolates over 3 x 3 pixels
_RAW_PATTERN = re.compile(r"(8|16|32|64)([USF])C([1-4])")
_RAW_ALIASES = {"mono8": "8UC1", "mono16": "16UC1", "rgb8": "8UC3", "bgr8": "8UC3", "rgba8": "8UC4", "bgra8": "8UC4"}
_RAW_KINDS = {"U": "u", "S": "i", "F": "f"}
_RAW_EXAMPLES = "32FC1, 32FC2, 16UC1, 8UC1, …, mono8, mono16, rgb8, bgr8, rgba8, bgra8"


def decode_image(
    data: Bytes, encoding: str, height: int, width: int, step: int, is_bigendian: bool = False
) -> NDArray[np.uint8]:
    """Decode the pixels of a picture.

    Args:
        data: ``height * step`` bytes; half as many again for nv12 and nv21.
        encoding: one of `PICTURE_ENCODINGS`, named as in ``sensor_msgs/image_encodings``.
        height: rows.
        width: columns.
        step: bytes from one row to the next, padding included.
        is_bigendian: order of the bytes of 16-bit channels.

    Returns:
        (H, W, 3) uint8, red, green, blue; rows follow each other without padding. A view of `data` where it is rgb8
        without padding, else one new array. 16 bits are scaled to 8 first, grey is repeated in the three channels,
        alpha is dropped, Bayer patterns are interpolated bilinearly, YUV is that of ITU-R BT.601 in its limited range.

    Raises:
        EncodingError: the encoding is not known, the size is not positive, a row does not fit into `step`, or `data`
            has another length than `height` and `step` say; also an odd width of a YUV, an odd height of an nv12 or
            nv21 and a Bayer image below 3 x 3.
    """
    if encoding not in _PICTURES:
        raise EncodingError(
            f"cannot decode encoding '{shortened(encoding)}' as a picture; accepted: {', '.join(PICTURE_ENCODINGS)}; "
            "convert the image first"
        )
    bits, channels, code = _PICTURES[encoding]
    planar = encoding in _SEMI_PLANAR
    if planar and height % 2:
        raise EncodingError(f"{encoding} image is {height} high; two rows share their colour: it must be even")
    rows = height * 3 // 2 if planar else height
    pixels = _rows(data, encoding, rows, width, step, np.dtype(f"u{bits // 8}"), channels, is_bigendian)
    if (channels == 2 or planar) and width % 2:
        raise EncodingError(f"{encoding} image is {width} wide; two columns share their colour: it must be even")
    if encoding.startswith("bayer") and min(height, width) < _LEAST_BAYER_SIZE:
        raise EncodingError(f"{encoding} image is {height} x {width}; it must be at least 3 x 3 to be interpolated")
    if code is None:
        return np.ascontiguousarray(pixels)
    if bits == 16:
        pixels = _to_8_bits(pixels)
    return np.asarray(cv2.cvtColor(pixels, code), np.uint8)


def decode_compressed(data: Bytes, format: str, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode a JPEG or PNG picture.

    Args:
        data: the file's bytes.
        format: as in ``sensor_msgs/CompressedImage``: "jpeg", "png" or image_transport's
            "<encoding before>; <codec> compressed <encoding after>". Another codec, or none, does not matter where the
            data begin as JPEG or PNG do.
        max_pixels: the most that it may have.

    Returns:
        (H, W, 3) uint8, red, green, blue.

    Raises:
        EncodingError: the format is a compressed depth image, label or depth values (16UC1, 32FC1), or no JPEG or PNG;
            or the data are damaged, or claim more than `max_pixels`.
    """
    content = bytes(data)
    problem = compressed_problem(content, format) or oversized(content, max_pixels)
    if problem:
        raise EncodingError(f"compressed image {problem}")
    before, codec, after = _parse_format(format)
    is_there = len(content) > 0 and not is_cut_jpeg(content)
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if is_there else None
    except cv2.error:  # it claims more pixels than OpenCV takes
        pixels = None
    if pixels is None:
        raise EncodingError(
            f"compressed image of {counted(len(data), 'byte')} in format '{shortened(format)}' cannot be decoded: "
            f"not a complete {shortened(codec) or 'JPEG or PNG'} file"
        )
    if pixels.dtype == np.uint16:
        pixels = _to_8_bits(pixels)
    if pixels.dtype != np.uint8:
        raise EncodingError(
            f"compressed image in format '{shortened(format)}' contains {pixels.dtype}; a picture has 8 or 16 bits"
        )
    if pixels.ndim == 2:
        height, width = pixels.shape
        bayer = before.startswith("bayer")
        grey = np.asarray(pixels, np.uint8).reshape(-1)
        return decode_image(grey, f"{before[:10]}8" if bayer else "mono8", height, width, width)
    if after.startswith("rgb"):  # the sender gave its encoder red first, where it expects blue
        return np.ascontiguousarray(pixels[..., :3])
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB), np.uint8)


def decode_raw(
    data: Bytes, encoding: str, height: int, width: int, step: int, is_bigendian: bool = False
) -> NDArray[Any]:
    """Give the values of an image as they are: depth, labels, flow.

    Args:
        data: ``height * step`` bytes.
        encoding: 8, 16, 32 or 64 bits, U, S or F, and 1 to 4 channels ("32FC1"), or mono8, mono16, rgb8, bgr8, rgba8,
            bgra8.
        height: rows.
        width: columns.
        step: bytes from one row to the next, padding included.
        is_bigendian: order of the bytes of a value.

    Returns:
        (H, W), or (H, W, C) for more than one channel, of the encoding's dtype in this machine's byte order; a view of
        `data` where that is possible.

    Raises:
        EncodingError: as `decode_image` says.
    """
    dtype, channels = raw_layout(encoding)
    return _rows(data, encoding, height, width, step, dtype, channels, is_bigendian)


def encode_image(pixels: NDArray[Any], encoding: str) -> tuple[NDArray[np.uint8], int]:
    """Lay an array out as the data of an image message, little-endian, without padding.

    Args:
        pixels: (H, W), or (H, W, C) for more than one channel, of the encoding's dtype.
        encoding: as `decode_raw` takes.

    Returns:
        The bytes ((H * step,) uint8; a view of `pixels` where these lie in one piece) and step, the bytes of a row.

    Raises:
        EncodingError: the encoding is not known, or `pixels` has another shape or dtype than it says.
    """
    dtype, channels = raw_layout(encoding)
    shape = "(H, W)" if channels == 1 else f"(H, W, {channels})"
    if pixels.ndim != (2 if channels == 1 else 3) or (channels > 1 and pixels.shape[-1] != channels):
        raise EncodingError(f"{encoding} pixels must be {shape} but are {pixels.shape}")
    if pixels.dtype != dtype:
        raise EncodingError(f"{encoding} pixels must be {dtype} but are {pixels.dtype}; convert them first")
    if pixels.size == 0:
        raise EncodingError(f"{encoding} pixels are {pixels.shape}: there is nothing to encode")
    little = np.ascontiguousarray(pixels, dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8), pixels.shape[1] * channels * dtype.itemsize


def raw_layout(encoding: str) -> tuple[np.dtype[Any], int]:
    """Return dtype and number of channels of an encoding whose values are taken as they are.

    Raises:
        EncodingError: the encoding is not known.
    """
    match = _RAW_PATTERN.fullmatch(_RAW_ALIASES.get(encoding, encoding))
    if match is None or (match[2] == "F" and match[1] in {"8", "16"}) or (match[2] != "F" and match[1] == "64"):
        raise EncodingError(f"cannot take the values of encoding '{shortened(encoding)}'; accepted: {_RAW_EXAMPLES}")
    return np.dtype(f"{_RAW_KINDS[match[2]]}{int(match[1]) // 8}"), int(match[3])


def _rows(
    data: Bytes,
    encoding: str,
    height: int,
    width: int,
    step: int,
    dtype: np.dtype[Any],
    channels: int,
    is_bigendian: bool,
) -> NDArray[Any]:
    """View bytes as (H, W) or (H, W, C) in native byte order; copy only where the order differs or rows are odd."""
    if height <= 0 or width <= 0:
        raise EncodingError(f"{encoding} image is {height} x {width} (height x width): it has no pixels")
    row_bytes = width * channels * dtype.itemsize
    if step < row_bytes:
        raise EncodingError(
            f"{encoding} image of width {width} has step {step}, but a row takes {row_bytes} bytes; correct the sender"
        )
    buffer = np.frombuffer(data, np.uint8)
    if buffer.size != height * step:
        wrong = "is cut off" if buffer.size < height * step else "is too long"
        said = f"height {height}"
        if encoding in _SEMI_PLANAR:
            said = f"height {height * 2 // 3}, and half as many rows of colour,"
        raise EncodingError(
            f"data of {encoding} image {wrong}: {buffer.size} bytes, but {said} x step {step} is {height * step}"
        )
    rows = buffer.reshape(height, step)[:, :row_bytes]
    if (step % dtype.itemsize or buffer.ctypes.data % dtype.itemsize) and dtype.itemsize > 1:
        rows = np.ascontiguousarray(rows)
    values: NDArray[Any] = rows.view(dtype.newbyteorder(">" if is_bigendian else "<")).reshape(height, width, channels)
    if channels == 1:
        values = values[..., 0]
    native = dtype.itemsize == 1 or is_bigendian == (sys.byteorder == "big")
    return values.view(dtype) if native else values.astype(dtype)


def _to_8_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale 0..65535 to 0..255, rounded to the nearest."""
    return np.asarray(cv2.convertScaleAbs(pixels, alpha=1.0 / 257.0), np.uint8)


def compressed_problem(data: Bytes, format: str) -> str:
    """Say why a compressed image is no JPEG or PNG picture, by its format and beginning; empty where it may be one.

    Args:
        data: as `decode_compressed` takes.
        format: likewise.
    """
    before, codec, _ = _parse_format(format)
    if "compressedDepth" in format or before in {"16UC1", "32FC1"}:
        return (
            f"has format '{shortened(format)}': that is a depth or label image, not a picture; "
            "choose the topic of the camera's colour or grey image"
        )
    if codec in {"jpeg", "jpg", "png", ""} or bytes(data[:8]).startswith(_COMPRESSED_BEGINNINGS):
        return ""
    return f"has format '{shortened(format)}'; accepted: jpeg, png"


def _parse_format(text: str) -> tuple[str, str, str]:
    """Part a CompressedImage's format into encoding before, codec and encoding after."""
    before, semicolon, rest = text.partition(";")
    if not semicolon:
        before, rest = "", text
    codec, _, after = rest.partition(" compressed")
    return before.strip(), codec.strip().lower(), after.strip().lower()
