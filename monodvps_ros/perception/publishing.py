# SPDX-License-Identifier: Apache-2.0
"""From the results of a frame to the outputs asked for, at the published size: one function for each output."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monodvps_ros.config import PipelineConfig
from monodvps_ros.geometry.resizing import resize_image, resize_live, resize_nearest
from monodvps_ros.labels import LABEL_DIVISOR, VOID_CLASS_ID, VOID_PANOPTIC_ID, LabelSpace
from monodvps_ros.outputs import Box3D, Odometry, Output, Perception, ScaleEstimate, Segment
from monodvps_ros.perception.boxes import fit_boxes, ground_of
from monodvps_ros.perception.code_maps import look_up
from monodvps_ros.perception.device import Download, to_device
from monodvps_ros.perception.grouping import Grouping
from monodvps_ros.perception.metric_scale import find_road_plane
from monodvps_ros.perception.overlay import draw_overlay
from monodvps_ros.perception.plan import Plan
from monodvps_ros.perception.pointcloud import as_points, pack_cloud
from monodvps_ros.perception.rendering import draw_panoptic, instance_colors
from monodvps_ros.perception.segments import SegmentStatistics, measure_segments
from monodvps_ros.perception.timing import StageTimer
from monodvps_ros.perception.tracker import TrackedInstances
from monodvps_ros.types import CameraFrame


@dataclass(frozen=True, eq=False)
class FrameResult:
    """What the pipeline computed for one frame, at the network's size, on the device.

    Attributes:
        frame: the camera's image.
        plan: sizes and tables of this camera.
        labels: the model's classes.
        config: range of the cloud, and whether sky has depth.
        image: (H, W, 3) uint8, the camera's, rectified.
        unseen: (h, w) bool, true where rectification left no image, or class scores are not finite: void, without
            depth; None where there is neither.
        inverse_depth: (1, 1, h, w) float32 in the network's unit.
        semantic: (h, w) int64 class ids.
        probability: (h, w) float32 of each pixel's class; None unless `Stage.PROBABILITY` is needed.
        grouping: segments as codes; None unless `Stage.TRACKING` is needed.
        tracked: ids of the instances; None likewise.
        scale: metres per unit of the network's depth.
        odometry: pose of the camera; None where there is none.
        problem: what of the networks' outputs is not finite; empty where all is.
        download: of what is computed on the device.
    """

    frame: CameraFrame
    plan: Plan
    labels: LabelSpace
    config: PipelineConfig
    image: Tensor
    unseen: Tensor | None
    inverse_depth: Tensor
    semantic: Tensor
    probability: Tensor | None
    grouping: Grouping | None
    tracked: TrackedInstances | None
    scale: ScaleEstimate
    odometry: Odometry | None
    problem: str = ""
    download: Download = field(default_factory=Download)

    @cached_property
    def depth_m(self) -> Tensor:
        """Depth at the published size."""
        return self.depth_at(self.plan.published_size)

    def depth_at(self, size: tuple[int, int]) -> Tensor:
        """Depth (H, W) float32 in metres at a size; NaN for sky, and where the camera has no image.

        NaN everywhere where the scale is unknown, unless the configuration has it published in the network's own unit.
        """
        if self.withholds_depth:
            return torch.full(size, torch.nan, device=self.inverse_depth.device)
        depth = self.scale.factor / resize_live(self.inverse_depth, size)[0, 0]
        missing = self.unseen
        if not self.config.sky_depth and "sky" in self.labels.names:
            sky = self.semantic == self.labels.class_id("sky")
            missing = sky if missing is None else sky | missing
        return depth if missing is None else depth.masked_fill_(resize_nearest(missing, size), torch.nan)

    @property
    def withholds_depth(self) -> bool:
        """Whether nothing that is in metres may be published."""
        return not self.scale.is_known and self.config.scale.unknown == "withhold"

    @cached_property
    def codes(self) -> "_CodeTables":
        """Ids by code of the grouping."""
        assert self.tracked is not None
        kept = [self.labels.class_id(name) for name in self.config.kept_classes] or range(len(self.labels))
        return _code_tables(self.tracked, len(self.labels), list(kept))

    @cached_property
    def colors(self) -> NDArray[np.uint8]:
        """Colours by code (S, 3)."""
        return instance_colors(self.codes.class_id, self.codes.instance_id, self.labels)

    @cached_property
    def measured(self) -> Callable[[], list[NDArray[Any]]]:
        """Gives area, box, score, median depth and centroid by code, as `SegmentStatistics`, on the host."""
        found = _measured_segments(self)
        return self.download.add(found.area_px, found.box_px, found.score, found.median_depth_m, found.centroid_m)

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """Segments, without void."""
        return _segments(self)

    @cached_property
    def published_image(self) -> Tensor:
        """The rectified image (H, W, 3) uint8 at the published size."""
        if self.plan.published_size == self.plan.camera_size:
            return self.image
        planes = self.image.permute(2, 0, 1)[None]
        resized = resize_image(planes, self.plan.published_size)[0].permute(1, 2, 0).contiguous()
        return resized if resized.dtype == torch.uint8 else resized.round_().to(torch.uint8)

    @cached_property
    def panoptic(self) -> Tensor:
        """Panoptic ids (H, W) int16: the bits of the uint16 ids, which torch cannot gather."""
        assert self.grouping is not None
        table = to_device(self.codes.panoptic.view(np.int16), self.semantic.device)
        return self.published(look_up(table, self.grouping.codes))

    @cached_property
    def classes(self) -> Tensor:
        """Class ids (h, w) uint8 of the panoptic map, at the network's size; 255 is void."""
        assert self.grouping is not None
        table = to_device(self.codes.class_id.astype(np.uint8), self.semantic.device)
        return table[self.grouping.codes]

    def published(self, network_map: Tensor) -> Tensor:
        """Resize a map of the network's size to the published size, to the nearest pixel."""
        return resize_nearest(network_map, self.plan.published_size)


def publish(result: FrameResult, wanted: frozenset[Output], timer: StageTimer) -> Perception:
    """Compute the outputs asked for; see `Perception` for their shapes. Without K or metres there is no cloud."""
    outputs = {}
    for output in Output:
        if output in wanted:
            outputs[output.field] = _COMPUTE[output](result)
            timer.done(output.field)
    on_device = [name for name, value in outputs.items() if isinstance(value, Tensor)]
    take = result.download.add(*(outputs[name] for name in on_device))
    for name, values in zip(on_device, take(), strict=True):
        outputs[name] = _VIEWS[name](values) if name in _VIEWS else values
    if Output.SEGMENTS in wanted:
        outputs[Output.SEGMENTS.field] = result.segments
    timer.done("download")
    return Perception(
        stamp_ns=result.frame.stamp_ns,
        frame_id=result.frame.frame_id,
        intrinsics=result.plan.published_intrinsics,
        scale=result.scale,
        problem=result.problem,
        timings_ms=timer.result_ms(),
        **outputs,
    )


def _color(result: FrameResult) -> Tensor:
    assert result.grouping is not None
    codes = result.published(result.grouping.codes.int())
    return draw_panoptic(codes, to_device(result.colors, codes.device))


def _confidence(result: FrameResult) -> Tensor:
    assert result.probability is not None
    confidence = (result.probability * 255.0).round().to(torch.uint8).masked_fill_(result.classes == VOID_CLASS_ID, 0)
    return result.published(confidence)


def _overlay(result: FrameResult) -> NDArray[np.uint8]:
    assert result.grouping is not None
    take = result.download.add(result.published(result.grouping.codes.int()), result.published_image)
    segments = result.segments
    codes, image = take()
    is_thing = (np.arange(len(result.colors)) > 0) & (np.arange(len(result.colors)) <= result.grouping.capacity)
    return draw_overlay(image, codes, result.colors, is_thing, segments)


def _boxes(result: FrameResult) -> tuple[Box3D, ...]:
    rays = result.plan.network_rays
    if rays is None or not result.scale.is_known:
        return ()
    assert result.grouping is not None
    depth = result.depth_at(result.plan.network_size)
    road = result.semantic == result.labels.class_id("road")
    ground = ground_of(find_road_plane(depth, rays, road, result.config.scale.min_road_points))
    points = (torch.cat((rays, torch.ones_like(rays[:1]))) * depth).movedim(0, -1).cpu().numpy()
    segment_of = {segment.panoptic_id: segment for segment in result.segments}
    code_of = {code: segment_of.get(panoptic_id) for code, panoptic_id in enumerate(result.codes.panoptic.tolist())}
    things = {code: segment for code, segment in code_of.items() if segment is not None and segment.is_thing}
    codes = result.grouping.codes.cpu().numpy()
    return fit_boxes(codes, points, things, result.colors, ground, result.config.cloud.max_range_m)


def _cloud(result: FrameResult) -> Tensor | None:
    plan = result.plan
    if plan.cloud_rays is None or result.withholds_depth:
        return None
    stride = plan.cloud_stride
    ids = result.panoptic[::stride, ::stride].int() & 0xFFFF
    void = ids == VOID_PANOPTIC_ID
    image = resize_nearest(result.image.permute(2, 0, 1), plan.published_size)
    depth = result.depth_m[::stride, ::stride]
    return pack_cloud(
        depth.masked_fill(void, torch.nan) if result.config.kept_classes else depth,
        plan.cloud_rays,
        image[:, ::stride, ::stride].permute(1, 2, 0),
        torch.where(void, VOID_CLASS_ID, ids // LABEL_DIVISOR),
        torch.where(void, 0, ids % LABEL_DIVISOR),
        result.config.cloud,
    )


def _measured_segments(result: FrameResult) -> SegmentStatistics:
    assert result.grouping is not None and result.probability is not None
    plan, codes = result.plan, result.grouping.codes
    depth = result.depth_at(plan.network_size)
    if not result.scale.is_known:
        depth = torch.full_like(depth, torch.nan)
    return measure_segments(codes, len(result.codes.panoptic), plan.grid, result.probability, depth, plan.network_rays)


def _segments(result: FrameResult) -> tuple[Segment, ...]:
    assert result.grouping is not None and result.tracked is not None
    codes, tracked, columns = result.codes, result.tracked, result.measured()
    segments = []
    found = np.flatnonzero((columns[0] > 0) & (codes.class_id != VOID_CLASS_ID))
    rows = zip(found.tolist(), *(column[found].tolist() for column in columns), strict=True)
    for code, area_px, (x_min, y_min, x_max, y_max), score, median_depth_m, (x, y, z) in rows:
        is_instance = code <= result.grouping.capacity
        class_id = int(codes.class_id[code])
        segments.append(
            Segment(
                panoptic_id=int(codes.panoptic[code]),
                track_id=int(tracked.track_id[code - 1]) if is_instance else 0,
                class_id=class_id,
                class_name=result.labels.names[class_id],
                is_thing=is_instance,
                score=score,
                area_px=area_px,
                box_px=(x_min, y_min, x_max, y_max),
                median_depth_m=median_depth_m,
                centroid_m=(x, y, z),
                age_frames=int(tracked.age_frames[code - 1]) if is_instance else 0,
            )
        )
    return tuple(segments)


_COMPUTE: dict[Output, Callable[[FrameResult], Any]] = {
    Output.DEPTH: lambda result: result.depth_m,
    Output.PANOPTIC: lambda result: result.panoptic,
    Output.COLOR: _color,
    Output.SEMANTIC: lambda result: result.published(result.classes),
    Output.CONFIDENCE: _confidence,
    Output.SEGMENTS: lambda result: result.measured,  # segments, once they are on the host
    Output.CLOUD: _cloud,
    Output.IMAGE: lambda result: result.published_image,
    Output.OVERLAY: _overlay,
    Output.BOXES: _boxes,
    Output.ODOMETRY: lambda result: result.odometry,
}

#: From what a device has no type for to what is published.
_VIEWS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    Output.PANOPTIC.field: lambda values: values.view(np.uint16),
    Output.CLOUD.field: as_points,
}


@dataclass(frozen=True, eq=False)
class _CodeTables:
    """(S,) values by code of a `Grouping`."""

    class_id: NDArray[np.int64]
    instance_id: NDArray[np.int64]
    panoptic: NDArray[np.uint16]


def _code_tables(tracked: TrackedInstances, classes: int, kept: list[int]) -> _CodeTables:
    class_id = np.concatenate(([VOID_CLASS_ID], tracked.class_id, np.arange(classes)))
    class_id[~np.isin(class_id, kept)] = VOID_CLASS_ID
    instance_id = np.concatenate(([0], tracked.instance_id, np.zeros(classes, np.int64)))
    panoptic = np.where(class_id == VOID_CLASS_ID, VOID_PANOPTIC_ID, class_id * LABEL_DIVISOR + instance_id)
    return _CodeTables(class_id, instance_id, panoptic.astype(np.uint16))
