# SPDX-License-Identifier: Apache-2.0
"""Instances and their boxes as fields of vision_msgs and visualization_msgs messages; see `message_fields`."""

from typing import Any

from monodvps_ros.labels import LabelSpace
from monodvps_ros.outputs import Box3D, Segment

_CUBE, _TEXT, _DELETE_ALL = 1, 9, 3  # of visualization_msgs/Marker: types, action
_BOX_ALPHA = 0.4
_TEXT_M = 0.6  # height of a letter
_MAX_MARKER_ID = 0x7FFFFFFF  # int32


def detections_fields(header: dict[str, Any], segments: tuple[Segment, ...]) -> dict[str, Any]:
    """Pack a Detection2DArray of the instances: box centres in pixels, both ends of a box included in its size."""
    detections = []
    for segment in segments:
        if segment.is_thing:
            x_min, y_min, x_max, y_max = segment.box_px
            center = {"position": {"x": (x_min + x_max) / 2, "y": (y_min + y_max) / 2}, "theta": 0.0}
            size = {"size_x": float(x_max - x_min + 1), "size_y": float(y_max - y_min + 1)}
            detections.append({**_detection(header, segment, None), "bbox": {"center": center, **size}})
    return {"detections": detections}


def detections_3d_fields(header: dict[str, Any], boxes: tuple[Box3D, ...]) -> dict[str, Any]:
    """Pack a Detection3DArray."""
    return {
        "detections": [
            {**_detection(header, box.segment, box), "bbox": {"center": _pose(box), "size": _vector(box.size_m)}}
            for box in boxes
        ]
    }


def markers_fields(header: dict[str, Any], boxes: tuple[Box3D, ...]) -> dict[str, Any]:
    """Pack a MarkerArray: what was shown before is deleted, then a cube and a text for each box."""
    markers = [{"header": header, "action": _DELETE_ALL}]
    for box in boxes:
        shared = {"header": header, "id": box.segment.track_id & _MAX_MARKER_ID}
        red, green, blue = (channel / 255 for channel in box.color)
        cube = {"type": _CUBE, "pose": _pose(box), "scale": _vector(box.size_m)}
        markers.append({**shared, "ns": "boxes", **cube, "color": _color(red, green, blue, _BOX_ALPHA)})
        text = {"type": _TEXT, "pose": _pose(box, above_m=_TEXT_M), "scale": _vector((0.0, 0.0, _TEXT_M))}
        text |= {"color": _color(1.0, 1.0, 1.0, 1.0), "text": box.segment.caption}
        markers.append({**shared, "ns": "labels", **text})
    return {"markers": markers}


def label_info_fields(labels: LabelSpace) -> dict[str, Any]:
    """Pack a LabelInfo: the names of the class ids; void, 255, has none."""
    names = enumerate(labels.names)
    return {"class_map": [{"class_id": class_id, "class_name": name} for class_id, name in names], "threshold": 0.0}


def _detection(header: dict[str, Any], segment: Segment, box: Box3D | None) -> dict[str, Any]:
    result: dict[str, Any] = {"hypothesis": {"class_id": segment.class_name, "score": segment.score}}
    if box is not None:
        result["pose"] = {"pose": _pose(box)}
    return {"header": header, "results": [result], "id": str(segment.track_id)}


def _pose(box: Box3D, above_m: float | None = None) -> dict[str, Any]:
    """Pose of a box, or of the place above the middle of its top."""
    center: tuple[float, ...] = box.center_m
    x, y, z, w = box.rotation
    if above_m is not None:
        rise = box.size_m[2] / 2 + above_m
        up = (2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y))
        center = tuple(middle + rise * axis for middle, axis in zip(center, up, strict=True))
    return {"position": _vector(center), "orientation": {"x": x, "y": y, "z": z, "w": w}}


def _vector(values: tuple[float, ...]) -> dict[str, float]:
    return dict(zip("xyz", values, strict=True))


def _color(red: float, green: float, blue: float, alpha: float) -> dict[str, float]:
    return {"r": red, "g": green, "b": blue, "a": alpha}
