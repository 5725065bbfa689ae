# SPDX-License-Identifier: Apache-2.0
"""ROS messages to the package's types and back. Arrays, not loops; at most one copy of the pixels each way.

An image that is rgb8 already is not copied at all on its way in: the array is a view of the message's data.
On the way out the pixels are copied once, straight into the `array.array` that a new message holds: assigning to
``data``, or naming it in the constructor, copies them once more or looks at every single byte, by the version of ROS.
A message of the frame before may be filled again: fresh memory for a large one costs several times as much as the copy.

cv_bridge and sensor_msgs_py give the same answers, a contract test says, but copy more: docs/node.md has the figures.
"""

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header

from monodvps_ros.data.image_codec import decode_compressed, decode_image, raw_layout
from monodvps_ros.data.message_fields import (
    camera_info_fields,
    cloud_layout,
    ns_to_time,
    point_fields,
    segment_fields,
    time_to_ns,
)
from monodvps_ros.errors import EncodingError
from monodvps_ros.msg import PanopticSegment, PanopticSegments
from monodvps_ros.shapes import check_shapes
from monodvps_ros.types import Segment

#: Encodings of published images: dtype and number of channels.
OUTPUT_ENCODINGS: dict[str, tuple[np.dtype[Any], int]] = {
    name: raw_layout(name) for name in ("32FC1", "16UC1", "rgb8", "mono8")
}

#: PointCloud2's description of `POINT_DTYPE`.
_POINT_FIELDS = [PointField(**field) for field in point_fields()]


def stamp_to_ns(stamp: Time) -> int:
    """Return a message's time in nanoseconds."""
    return time_to_ns(stamp)


def stamp_from_ns(stamp_ns: int) -> Time:
    """Return nanoseconds as a message's time; before 1970 too, where nanosec still counts forward."""
    sec, nanosec = ns_to_time(stamp_ns)
    return Time(sec=sec, nanosec=nanosec)


def image_array(message: Image) -> NDArray[np.uint8]:
    """Decode an Image.

    Returns:
        (H, W, 3) uint8, red, green, blue; a view of the message's data where it is rgb8.

    Raises:
        EncodingError: the encoding is not supported, or size, step and data do not agree.
    """
    return decode_image(
        np.frombuffer(message.data, np.uint8),
        message.encoding,
        message.height,
        message.width,
        message.step,
        bool(message.is_bigendian),
    )


def compressed_image_array(message: CompressedImage) -> NDArray[np.uint8]:
    """Decode a CompressedImage (JPEG, PNG).

    Returns:
        (H, W, 3) uint8, red, green, blue.

    Raises:
        EncodingError: the data cannot be decoded, or the format is not an image's.
    """
    return decode_compressed(np.frombuffer(message.data, np.uint8), message.format)


def image_message(pixels: NDArray, encoding: str, header: Header, reuse: Image | None = None) -> Image:
    """Make an Image.

    Args:
        pixels: (H, W), or (H, W, 3) for rgb8, of the encoding's dtype.
        encoding: one of `OUTPUT_ENCODINGS`.
        header: taken as it is, not copied.
        reuse: a message to fill, which nobody needs any more.

    Raises:
        EncodingError: the encoding is not one that is published, or the dtype is not the encoding's.
        ShapeError: the shape is not the encoding's.
    """
    if encoding not in OUTPUT_ENCODINGS:
        raise EncodingError(f"cannot publish encoding '{encoding}'; there are: {', '.join(OUTPUT_ENCODINGS)}")
    dtype, channels = OUTPUT_ENCODINGS[encoding]
    check_shapes(pixels=(pixels, "H W" if channels == 1 else f"H W {channels}"))
    if pixels.dtype != dtype:
        raise EncodingError(f"{encoding} pixels must be {dtype} but are {pixels.dtype}; convert them first")
    message = Image() if reuse is None else reuse
    message.header = header
    message.height, message.width = pixels.shape[:2]
    message.encoding = encoding
    message.is_bigendian = 0
    message.step = message.width * channels * dtype.itemsize
    _fill(message.data, pixels)
    return message


def camera_info_message(intrinsics: NDArray[np.float64], size: tuple[int, int], header: Header) -> CameraInfo:
    """Make the CameraInfo of a map that is published: a pinhole camera without distortion.

    Args:
        intrinsics: (3, 3) K in pixels of the map.
        size: height and width of the map.
        header: taken as it is, not copied.

    Raises:
        ShapeError: K is not 3 x 3.
    """
    fields = camera_info_fields(intrinsics, size)
    fields["d"] = fields["d"].tolist()  # rclpy takes no array for a field of variable length
    return CameraInfo(header=header, **fields)


def cloud_message(points: NDArray, header: Header, reuse: PointCloud2 | None = None) -> PointCloud2:
    """Make a PointCloud2: x y z rgb label instance, 24 bytes a point, no padding between rows.

    Args:
        points: (h, w) of `POINT_DTYPE` for an organized cloud, NaN where there is no point; (N,) for one that holds
            valid points only.
        header: taken as it is, not copied.
        reuse: a message to fill, which nobody needs any more.

    Raises:
        EncodingError: the dtype is not `POINT_DTYPE`.
        ShapeError: there are neither one nor two axes.
    """
    layout = cloud_layout(points)
    message = PointCloud2() if reuse is None else reuse
    message.header = header
    message.fields = _POINT_FIELDS
    for name, value in layout.items():
        setattr(message, name, value)
    _fill(message.data, points)
    return message


def segments_message(segments: Sequence[Segment], header: Header) -> PanopticSegments:
    """Make a PanopticSegments; the header is taken as it is, not copied."""
    return PanopticSegments(header=header, segments=[_segment_message(segment) for segment in segments])


def _segment_message(segment: Segment) -> PanopticSegment:
    x, y, z = segment.centroid_m
    return PanopticSegment(**segment_fields(segment), centroid_m=Point(x=x, y=y, z=z))


def _fill(data: "array[int]", pixels: NDArray) -> None:
    """Put an array's bytes into a message's data; copied twice only where its rows do not follow each other."""
    content = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
    if len(data) == content.nbytes:
        np.frombuffer(data, np.uint8)[:] = content
    else:
        del data[:]
        data.frombytes(content)  # type: ignore[arg-type]  # any buffer will do
