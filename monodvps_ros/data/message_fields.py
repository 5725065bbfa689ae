# SPDX-License-Identifier: Apache-2.0
"""The package's types as fields of ROS messages, without ROS; the node and the bag writer make the messages of them.

Fields are named as in the message: numbers, texts, arrays, dictionaries for messages within it, lists of dictionaries
for lists of messages. The header is left to who makes the message.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.box_fields import detections_3d_fields, detections_fields, markers_fields
from monodvps_ros.data.compressed_images import compress
from monodvps_ros.data.image_codec import encode_image
from monodvps_ros.data.odometry_fields import odometry_fields, transform_fields
from monodvps_ros.errors import EncodingError
from monodvps_ros.geometry.calibration import Calibration
from monodvps_ros.outputs import (
    CAMERA_INFO_TYPE,
    COMPRESSED_TYPE,
    DETECTIONS_3D_TYPE,
    DETECTIONS_TYPE,
    IMAGE_TYPE,
    MARKERS_TYPE,
    ODOMETRY_TYPE,
    POINT_CLOUD_TYPE,
    POINT_DTYPE,
    SEGMENTS_TYPE,
    OutputTopic,
    Perception,
    ScaleEstimate,
    Segment,
)
from monodvps_ros.shapes import check_shapes

Fields: TypeAlias = dict[str, Any]

NANOSECONDS = 1_000_000_000

_UINT32, _FLOAT32 = 6, 7  # of sensor_msgs/PointField


def time_to_ns(time: Any) -> int:
    """Return a builtin_interfaces/Time in nanoseconds."""
    return int(time.sec) * NANOSECONDS + int(time.nanosec)


def ns_to_time(stamp_ns: int) -> tuple[int, int]:
    """Return sec and nanosec of a time in nanoseconds; before 1970 too, where nanosec still counts forward."""
    return divmod(stamp_ns, NANOSECONDS)


def output_fields(row: OutputTopic, perception: Perception) -> Fields | None:
    """Pack one topic's output of a frame; None where the frame has nothing for the topic."""
    return None if perception[row.output] is None else _PACK[row.type_name](row, perception)


def image_fields(pixels: NDArray[Any], encoding: str) -> Fields:
    """Pack an Image; arguments and errors are those of `encode_image`."""
    data, step = encode_image(pixels, encoding)
    return {
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "encoding": encoding,
        "is_bigendian": 0,
        "step": step,
        "data": data,
    }


def cloud_fields(points: NDArray[Any]) -> Fields:
    """Pack a PointCloud2: x y z rgb label instance, 24 bytes a point, rows without padding.

    Args:
        points: of `POINT_DTYPE`; (h, w) is an organized cloud, NaN where there is no point; (N,) valid points only.

    Raises:
        EncodingError: the dtype is not `POINT_DTYPE`.
        ShapeError: there are neither one nor two axes.
    """
    if points.dtype != POINT_DTYPE:
        raise EncodingError(f"points must be of POINT_DTYPE but are {points.dtype}")
    organized = points.ndim == 2
    check_shapes(points=(points, "h w" if organized else "N"))
    height, width = points.shape if organized else (1, points.shape[0])
    assert POINT_DTYPE.fields is not None
    return {
        "height": height,
        "width": width,
        "fields": [
            {"name": name, "offset": offset, "datatype": _UINT32 if kind.kind == "u" else _FLOAT32, "count": 1}
            for name, (kind, offset, *_) in POINT_DTYPE.fields.items()
        ],
        "is_bigendian": False,
        "point_step": POINT_DTYPE.itemsize,
        "row_step": POINT_DTYPE.itemsize * width,
        "is_dense": not organized,
        "data": np.ascontiguousarray(points).reshape(-1).view(np.uint8),
    }


def segments_fields(segments: Sequence[Segment], scale: ScaleEstimate) -> Fields:
    """Pack a PanopticSegments."""
    return {
        "scale_state": scale.state.value,
        "scale_confidence": scale.confidence,
        "segments": [_segment_fields(segment) for segment in segments],
    }


def scale_fields(scale: ScaleEstimate) -> Fields:
    """Pack a DepthScale."""
    return {
        "state": scale.state.value,
        "confidence": scale.confidence,
        "factor": scale.factor if scale.is_known else float("nan"),
        "problem": scale.problem,
    }


def _segment_fields(segment: Segment) -> Fields:
    x_min, y_min, x_max, y_max = segment.box_px
    x, y, z = segment.centroid_m
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
        "centroid_m": {"x": x, "y": y, "z": z},
        "age_frames": segment.age_frames,
    }


def _header(perception: Perception) -> Fields:
    """Pack the header of a message within a message."""
    sec, nanosec = ns_to_time(perception.stamp_ns)
    return {"stamp": {"sec": sec, "nanosec": nanosec}, "frame_id": perception.frame_id}


def transforms_of(perception: Perception) -> Fields:
    """Pack a TFMessage of a frame that has odometry."""
    assert perception.odometry is not None
    return transform_fields(_header(perception)["stamp"], perception.odometry)


def _camera_info_of_depth(perception: Perception) -> Fields | None:
    if perception.intrinsics is None or perception.depth_m is None:
        return None
    height, width = perception.depth_m.shape
    return Calibration.of_pinhole(perception.intrinsics, (height, width)).fields()


_PACK: dict[str, Callable[[OutputTopic, Perception], Fields | None]] = {
    IMAGE_TYPE: lambda row, perception: image_fields(perception[row.output], row.encoding),
    CAMERA_INFO_TYPE: lambda _, perception: _camera_info_of_depth(perception),
    SEGMENTS_TYPE: lambda row, perception: segments_fields(perception[row.output], perception.scale),
    POINT_CLOUD_TYPE: lambda row, perception: cloud_fields(perception[row.output]),
    COMPRESSED_TYPE: lambda row, perception: {
        "format": row.encoding,
        "data": compress(perception[row.output], row.encoding),
    },
    DETECTIONS_TYPE: lambda row, perception: detections_fields(_header(perception), perception[row.output]),
    DETECTIONS_3D_TYPE: lambda row, perception: detections_3d_fields(_header(perception), perception[row.output]),
    MARKERS_TYPE: lambda row, perception: markers_fields(_header(perception), perception[row.output]),
    ODOMETRY_TYPE: lambda row, perception: odometry_fields(_header(perception)["stamp"], perception[row.output]),
}
