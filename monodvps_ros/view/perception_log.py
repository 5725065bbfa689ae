# SPDX-License-Identifier: Apache-2.0
"""Logs perception to a rerun stream: a file, or a viewer."""

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.labels import LABEL_DIVISOR, VOID_PANOPTIC_ID, LabelSpace, decode_panoptic
from monodvps_ros.optional import import_optional
from monodvps_ros.outputs import Box3D, Perception
from monodvps_ros.perception.odometry import BODY_FROM_OPTICAL
from monodvps_ros.perception.rendering import instance_colors
from monodvps_ros.view import layout

#: Frames that the way of a track is shown for.
TRAIL_FRAMES = 60
MASK_OPACITY = 0.6
JPEG_QUALITY = 85
#: How far in front of the camera its image stands, metres.
IMAGE_PLANE_M = 1.5
_POINT_RADIUS_M = 0.05


class PerceptionLog:
    """Logs frames to a stream, at their stamps. What a frame lacks disappears.

    The world is the frame of the odometry. Without odometry, the camera stands still in it, and tracks are ways
    relative to the camera.

    Args:
        stream: a `rerun.RecordingStream` with its sinks.
        labels: classes of the panoptic maps.
    """

    def __init__(self, stream: Any, labels: LabelSpace) -> None:
        self._rerun = import_optional("rerun", layout.PURPOSE)
        self._stream, self._labels = stream, labels
        self._trails: dict[tuple[int, int], deque[NDArray[np.float64]]] = {}
        self._last_seen: dict[tuple[int, int], int] = {}
        self._frame = 0
        self._scale = ""
        stream.log(layout.WORLD, self._rerun.ViewCoordinates.FLU, static=True)
        stream.log(layout.PANOPTIC, self._names(), static=True)

    def log(self, perception: Perception) -> None:
        """Log a frame; what it does not hold is not shown."""
        self._frame += 1
        self._stream.set_time(layout.TIMELINE, timestamp=np.datetime64(perception.stamp_ns, "ns"))
        pose = _camera_pose(perception)
        self._stream.log(layout.CAMERA, self._rerun.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
        self._log_plane(perception)
        self._log_cloud(perception)
        self._log_boxes(perception.boxes or (), pose)
        self._log_scale(perception)

    def _show(self, path: str, shown: Any) -> None:
        self._stream.log(path, self._rerun.Clear(recursive=False) if shown is None else shown)

    def _log_plane(self, perception: Perception) -> None:
        rr, image, depth = self._rerun, perception.image, perception.depth_m
        maps = [part for part in (image, depth, perception.panoptic) if part is not None]
        if maps and perception.intrinsics is not None:
            height, width = maps[0].shape[:2]
            pinhole = rr.Pinhole(
                image_from_camera=perception.intrinsics,
                resolution=[width, height],
                image_plane_distance=IMAGE_PLANE_M,
            )
            self._stream.log(layout.PLANE, pinhole)
        self._show(layout.IMAGE, None if image is None else rr.Image(image).compress(jpeg_quality=JPEG_QUALITY))
        # Half precision is 1 cm at 10 m, and half of the file.
        has_depth = depth is not None and bool(np.isfinite(depth).any())
        shown = rr.DepthImage(depth.astype(np.float16), meter=1.0, colormap="turbo") if has_depth else None  # type: ignore[union-attr]
        self._show(layout.DEPTH, shown)
        if perception.panoptic is None:
            self._show(layout.PANOPTIC, None)
        else:
            self._stream.log(layout.PANOPTIC, rr.SegmentationImage(perception.panoptic, opacity=MASK_OPACITY))
        things = [segment for segment in perception.segments or () if segment.is_thing]
        boxes = np.array([segment.box_px for segment in things], np.float32).reshape(-1, 4)
        ids = np.array([segment.panoptic_id for segment in things], np.int64)
        shown = rr.Boxes2D(
            array=boxes + np.array([0, 0, 1, 1], np.float32),
            array_format=rr.Box2DFormat.XYXY,
            colors=_light(self._colors(ids)),
            labels=[segment.caption for segment in things],
        )
        self._show(layout.SEGMENTS, shown if things else None)

    def _names(self) -> Any:
        """Name and colour every id that a panoptic map may hold, once: viewers do not follow names that change."""
        ids = np.array(
            [
                class_id * LABEL_DIVISOR + instance_id
                for class_id, info in enumerate(self._labels.classes)
                for instance_id in range(LABEL_DIVISOR if info.is_thing else 1)
            ]
        )
        names = (self._labels.names[number // LABEL_DIVISOR] for number in ids.tolist())
        names = (
            f"{name} {number % LABEL_DIVISOR or ''}".rstrip() for name, number in zip(names, ids.tolist(), strict=True)
        )
        entries = zip(ids.tolist(), names, self._colors(ids).tolist(), strict=True)
        return self._rerun.AnnotationContext([*entries, (VOID_PANOPTIC_ID, "void", (0, 0, 0, 0))])

    def _colors(self, panoptic_ids: NDArray[np.int64]) -> NDArray[np.uint8]:
        class_ids, instance_ids = decode_panoptic(panoptic_ids)
        return instance_colors(class_ids.astype(np.int64), instance_ids.astype(np.int64), self._labels)

    def _log_cloud(self, perception: Perception) -> None:
        cloud = None if perception.cloud is None else perception.cloud.reshape(-1)
        cloud = cloud if cloud is None else cloud[np.isfinite(cloud["z"])]
        if cloud is None or not len(cloud):
            self._show(layout.CLOUD, None)
            return
        packed = np.ascontiguousarray(cloud["rgb"]).view(np.uint32)
        colors = np.stack([(packed >> shift) & 255 for shift in (16, 8, 0)], 1).astype(np.uint8)
        points = np.stack([cloud[axis] for axis in "xyz"], 1)
        self._stream.log(layout.CLOUD, self._rerun.Points3D(points, colors=colors, radii=_POINT_RADIUS_M))

    def _log_boxes(self, boxes: tuple[Box3D, ...], pose: NDArray[np.float64]) -> None:
        rr = self._rerun
        shown = rr.Boxes3D(
            centers=[box.center_m for box in boxes],
            sizes=[box.size_m for box in boxes],
            quaternions=[rr.Quaternion(xyzw=box.rotation) for box in boxes],
            colors=_light(np.array([box.color for box in boxes], np.uint8)),
            labels=[box.segment.caption for box in boxes],
        )
        self._show(layout.BOXES, shown if boxes else None)
        colors = {}
        for box in boxes:
            key = box.segment.class_id, box.segment.track_id
            trail = self._trails.setdefault(key, deque(maxlen=TRAIL_FRAMES))
            trail.append(pose[:3, :3] @ box.center_m + pose[:3, 3])
            self._last_seen[key], colors[key] = self._frame, _light(np.array(box.color, np.uint8))
        for key in [key for key, frame in self._last_seen.items() if self._frame - frame >= TRAIL_FRAMES]:
            del self._trails[key], self._last_seen[key]
        ways = {key: np.stack(trail) for key, trail in self._trails.items() if key in colors and len(trail) > 1}
        shown = rr.LineStrips3D(list(ways.values()), colors=[colors[key] for key in ways], radii=0.05)
        self._show(layout.TRACKS, shown if ways else None)

    def _log_scale(self, perception: Perception) -> None:
        """Say what the scale is where it changes: without metres there is no depth to show."""
        scale = perception.scale
        if scale.state.value == self._scale:
            return
        self._scale = scale.state.value
        text = f"scale: {self._scale}, confidence {scale.confidence:.2f}"
        text += "" if scale.is_known else "; no depth in metres, so no depth, cloud or boxes"
        level = self._rerun.TextLogLevel.INFO if scale.is_known else self._rerun.TextLogLevel.WARN
        self._stream.log(layout.SCALE, self._rerun.TextLog(text, level=level))


def _light(colors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lighten colours, so that lines and texts can be told from the dark background."""
    return (colors // 2 + 127).astype(np.uint8)


def _camera_pose(perception: Perception) -> NDArray[np.float64]:
    """Return (4, 4) that carries points of the optical frame into the world."""
    odometry = perception.odometry
    if odometry is None:
        return BODY_FROM_OPTICAL
    # A child frame other than the camera's has a robot's axes; where the camera stands on the robot is not known here.
    is_camera = odometry.child_frame_id == perception.frame_id
    return odometry.pose if is_camera else odometry.pose @ BODY_FROM_OPTICAL
