# SPDX-License-Identifier: Apache-2.0
"""What the fields of our messages hold, whoever makes the message: the node with ROS's classes, bags with their own.

A field is named as in the message; headers and points, which are messages themselves, are not among them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.errors import EncodingError
from monodvps_ros.shapes import check_shapes
from monodvps_ros.types import POINT_DTYPE, Segment

NANOSECONDS = 1_000_000_000

_UINT32, _FLOAT32 = 6, 7  # of sensor_msgs/PointField


def time_to_ns(time: Any) -> int:
    """Return a builtin_interfaces/Time in nanoseconds."""
    return int(time.sec) * NANOSECONDS + int(time.nanosec)


def ns_to_time(stamp_ns: int) -> tuple[int, int]:
    """Return sec and nanosec of a time in nanoseconds; before 1970 too, where nanosec still counts forward."""
    return divmod(stamp_ns, NANOSECONDS)


def camera_info_fields(intrinsics: NDArray[np.float64], size: tuple[int, int]) -> dict[str, Any]:
    """Describe a pinhole camera without distortion.

    Args:
        intrinsics: (3, 3) K in pixels of the image.
        size: height and width of the image.

    Returns:
        Fields of a sensor_msgs/CameraInfo; d, k, r and p are float64 arrays.

    Raises:
        ShapeError: K is not 3 x 3.
    """
    check_shapes(intrinsics=(intrinsics, "3 3"))
    projection = np.zeros((3, 4))
    projection[:, :3] = intrinsics
    return {
        "height": size[0],
        "width": size[1],
        "distortion_model": "plumb_bob",
        "d": np.zeros(5),
        "k": np.array(intrinsics, np.float64).ravel(),
        "r": np.eye(3).ravel(),
        "p": projection.ravel(),
    }


def cloud_layout(points: NDArray[Any]) -> dict[str, Any]:
    """Describe how points lie in a sensor_msgs/PointCloud2: x y z rgb label instance, rows without padding.

    Args:
        points: of `POINT_DTYPE`; (h, w) is an organized cloud, NaN where there is no point; (N,) valid points only.

    Returns:
        All fields but header, fields and data.

    Raises:
        EncodingError: the dtype is not `POINT_DTYPE`.
        ShapeError: there are neither one nor two axes.
    """
    if points.dtype != POINT_DTYPE:
        raise EncodingError(f"points must be of POINT_DTYPE but are {points.dtype}")
    organized = points.ndim == 2
    check_shapes(points=(points, "h w" if organized else "N"))
    height, width = points.shape if organized else (1, points.shape[0])
    return {
        "height": height,
        "width": width,
        "is_bigendian": False,
        "point_step": POINT_DTYPE.itemsize,
        "row_step": POINT_DTYPE.itemsize * width,
        "is_dense": not organized,
    }


def point_fields() -> list[dict[str, Any]]:
    """Describe `POINT_DTYPE` as fields of the sensor_msgs/PointFields of a cloud."""
    assert POINT_DTYPE.fields is not None
    return [
        {"name": name, "offset": offset, "datatype": _UINT32 if kind.kind == "u" else _FLOAT32, "count": 1}
        for name, (kind, offset, *_) in POINT_DTYPE.fields.items()
    ]


def segment_fields(segment: Segment) -> dict[str, Any]:
    """Return the fields of a monodvps_ros/PanopticSegment but its centroid."""
    x_min, y_min, x_max, y_max = segment.box_px
    return {
        "panoptic_id": segment.panoptic_id,
        "track_id": segment.track_id,
        "class_id": segment.class_id,
        "class_name": segment.class_name,
        "is_thing": segment.is_thing,
        "score": segment.score,
        "area_px": segment.area_px,
        "x_min": x_min,
        "y_min": y_min,
        "x_max": x_max,
        "y_max": y_max,
        "median_depth_m": segment.median_depth_m,
        "age_frames": segment.age_frames,
    }
