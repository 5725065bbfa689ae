# SPDX-License-Identifier: Apache-2.0
"""ROS messages to the package's types and back. Arrays, not loops; at most one copy of the pixels each way.

An image that is rgb8 already is not copied at all on its way in: the array is a view of the message's data.
On the way out the pixels are copied once, straight into the `array.array` that a new message holds: assigning to
``data``, or naming it in the constructor, copies them once more or looks at every single byte, by the version of ROS.
A message of the frame before may be filled again: fresh memory for a large one costs several times as much as the copy.
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

from monodvps_ros.data.image_codec import decode_compressed, decode_image
from monodvps_ros.errors import EncodingError
from monodvps_ros.msg import PanopticSegment, PanopticSegments
from monodvps_ros.shapes import check_shapes
from monodvps_ros.types import POINT_DTYPE, Segment

NANOSECONDS = 1_000_000_000

#: Encodings of published images: dtype and number of channels.
OUTPUT_ENCODINGS: dict[str, tuple[np.dtype[Any], int]] = {
    "32FC1": (np.dtype("<f4"), 1),
    "16UC1": (np.dtype("<u2"), 1),
    "rgb8": (np.dtype("u1"), 3),
    "mono8": (np.dtype("u1"), 1),
}

#: PointCloud2's description of `POINT_DTYPE`: type by field.
_POINT_TYPES = {
    "x": PointField.FLOAT32,
    "y": PointField.FLOAT32,
    "z": PointField.FLOAT32,
    "rgb": PointField.FLOAT32,
    "label": PointField.UINT32,
    "instance": PointField.UINT32,
}
_POINT_FIELDS = [
    PointField(name=name, offset=4 * index, datatype=datatype, count=1)
    for index, (name, datatype) in enumerate(_POINT_TYPES.items())
]


def stamp_to_ns(stamp: Time) -> int:
    """Return a message's time in nanoseconds."""
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def stamp_from_ns(stamp_ns: int) -> Time:
    """Return nanoseconds as a message's time; before 1970 too, where nanosec still counts forward."""
    sec, nanosec = divmod(stamp_ns, NANOSECONDS)
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
    check_shapes(intrinsics=(intrinsics, "3 3"))
    projection = np.zeros((3, 4))
    projection[:, :3] = intrinsics
    return CameraInfo(
        header=header,
        height=size[0],
        width=size[1],
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=np.asarray(intrinsics, np.float64).ravel(),
        r=np.eye(3).ravel(),
        p=projection.ravel(),
    )


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
    if points.dtype != POINT_DTYPE:
        raise EncodingError(f"points must be of POINT_DTYPE but are {points.dtype}")
    organized = points.ndim == 2
    check_shapes(points=(points, "h w" if organized else "N"))
    message = PointCloud2() if reuse is None else reuse
    message.header = header
    message.height, message.width = points.shape if organized else (1, points.shape[0])
    message.fields = _POINT_FIELDS
    message.is_bigendian = False
    message.point_step = POINT_DTYPE.itemsize
    message.row_step = POINT_DTYPE.itemsize * message.width
    message.is_dense = not organized
    _fill(message.data, points)
    return message


def segments_message(segments: Sequence[Segment], header: Header) -> PanopticSegments:
    """Make a PanopticSegments; the header is taken as it is, not copied."""
    return PanopticSegments(header=header, segments=[_segment_message(segment) for segment in segments])


def _segment_message(segment: Segment) -> PanopticSegment:
    x, y, z = segment.centroid_m
    x_min, y_min, x_max, y_max = segment.box_px
    return PanopticSegment(
        panoptic_id=segment.panoptic_id,
        track_id=segment.track_id,
        class_id=segment.class_id,
        class_name=segment.class_name,
        is_thing=segment.is_thing,
        score=segment.score,
        area_px=segment.area_px,
        x_min=x_min,
        y_min=y_min,
        x_max=x_max,
        y_max=y_max,
        median_depth_m=segment.median_depth_m,
        centroid_m=Point(x=x, y=y, z=z),
        age_frames=segment.age_frames,
    )


def _fill(data: "array[int]", pixels: NDArray) -> None:
    """Put an array's bytes into a message's data; copied twice only where its rows do not follow each other."""
    content = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
    if len(data) == content.nbytes:
        np.frombuffer(data, np.uint8)[:] = content
    else:
        del data[:]
        data.frombytes(content)  # type: ignore[arg-type]  # any buffer will do
