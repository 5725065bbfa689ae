# SPDX-License-Identifier: Apache-2.0
"""The package's types as ROS messages for recordings, made without ROS.

Each function takes `types`: the message classes by their names (``sensor_msgs/msg/Image``), as a recording's type store
has them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.image_codec import encode_image
from monodvps_ros.data.message_fields import (
    camera_info_fields,
    cloud_layout,
    ns_to_time,
    point_fields,
    segment_fields,
    time_to_ns,
)
from monodvps_ros.shapes import check_shapes
from monodvps_ros.types import Segment

Types: TypeAlias = Mapping[str, Any]

SEGMENTS_TYPE = "monodvps_ros/msg/PanopticSegments"


def header(types: Types, stamp_ns: int, frame_id: str) -> Any:
    """Make a Header."""
    return types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](*ns_to_time(stamp_ns)), frame_id)


def stamp_ns(message: Any) -> int:
    """Return the stamp of a message's header in nanoseconds."""
    return time_to_ns(message.header.stamp)


def image(types: Types, stamp_ns: int, frame_id: str, pixels: NDArray[Any], encoding: str) -> Any:
    """Make an Image of an array as `encode_image` takes it.

    Raises:
        EncodingError: as `encode_image` says.
    """
    data, step = encode_image(pixels, encoding)
    return types["sensor_msgs/msg/Image"](
        header=header(types, stamp_ns, frame_id),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=step,
        data=data,
    )


def camera_info(
    types: Types, stamp_ns: int, frame_id: str, size: tuple[int, int], intrinsics: NDArray[np.float64]
) -> Any:
    """Make the CameraInfo of a rectified image.

    Args:
        types: message classes.
        stamp_ns: of the image.
        frame_id: of the image.
        size: height and width.
        intrinsics: (3, 3) K in pixels of the image.

    Raises:
        ShapeError: K is not 3 x 3.
    """
    return types["sensor_msgs/msg/CameraInfo"](
        header=header(types, stamp_ns, frame_id),
        **camera_info_fields(intrinsics, size),
        binning_x=0,
        binning_y=0,
        roi=types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
    )


def cloud(types: Types, stamp_ns: int, frame_id: str, points: NDArray[Any]) -> Any:
    """Make a PointCloud2: x y z rgb label instance, 24 bytes a point, rows without padding.

    Args:
        types: message classes.
        stamp_ns: of the image.
        frame_id: the camera's optical frame.
        points: of `POINT_DTYPE`; (h, w) is an organized cloud, NaN where there is no point; (N,) valid points only.

    Raises:
        EncodingError: the dtype is not `POINT_DTYPE`.
        ShapeError: there are neither one nor two axes.
    """
    return types["sensor_msgs/msg/PointCloud2"](
        header=header(types, stamp_ns, frame_id),
        fields=[types["sensor_msgs/msg/PointField"](**field) for field in point_fields()],
        **cloud_layout(points),
        data=np.ascontiguousarray(points).reshape(-1).view(np.uint8),
    )


def transform(types: Types, stamp_ns: int, parent: str, child: str, matrix: NDArray[np.float64]) -> Any:
    """Make a TFMessage of one transform: a (4, 4) rigid matrix that carries points of the child into the parent.

    Raises:
        ShapeError: the matrix is not 4 x 4.
    """
    check_shapes(matrix=(matrix, "4 4"))
    x, y, z = (float(value) for value in matrix[:3, 3])
    moved = types["geometry_msgs/msg/Transform"](
        types["geometry_msgs/msg/Vector3"](x, y, z), types["geometry_msgs/msg/Quaternion"](*_quaternion(matrix[:3, :3]))
    )
    stamped = types["geometry_msgs/msg/TransformStamped"](header(types, stamp_ns, parent), child, moved)
    return types["tf2_msgs/msg/TFMessage"]([stamped])


def transform_matrix(transform: Any) -> NDArray[np.float64]:
    """Return the (4, 4) matrix of a geometry_msgs/Transform."""
    moved, turned = transform.translation, transform.rotation
    x, y, z, w = np.array([turned.x, turned.y, turned.z, turned.w]) / np.linalg.norm(
        [turned.x, turned.y, turned.z, turned.w]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = moved.x, moved.y, moved.z
    return matrix


def panoptic_segments(types: Types, stamp_ns: int, frame_id: str, segments: Sequence[Segment]) -> Any:
    """Make a PanopticSegments; `types` must hold this package's messages."""
    make, point = types["monodvps_ros/msg/PanopticSegment"], types["geometry_msgs/msg/Point"]
    return types[SEGMENTS_TYPE](
        header(types, stamp_ns, frame_id),
        [make(**segment_fields(segment), centroid_m=point(*segment.centroid_m)) for segment in segments],
    )


def _quaternion(rotation: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Return (x, y, z, w) of a rotation matrix: the eigenvector of Bar-Itzhack (2000), exact for any angle."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    symmetric = np.array(
        [
            [xx - yy - zz, yx + xy, zx + xz, zy - yz],
            [yx + xy, yy - xx - zz, zy + yz, xz - zx],
            [zx + xz, zy + yz, zz - xx - yy, yx - xy],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    x, y, z, w = np.linalg.eigh(symmetric)[1][:, -1].tolist()
    return (x, y, z, w) if w >= 0 else (-x, -y, -z, -w)
