# SPDX-License-Identifier: Apache-2.0
"""From what was found in a frame to the maps, segments and cloud that were asked for, at the published size."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monodvps_ros.config import PipelineConfig
from monodvps_ros.labels import LABEL_DIVISOR, VOID_CLASS_ID, VOID_PANOPTIC_ID, LabelSpace
from monodvps_ros.perception.grouping import Grouping, upsample
from monodvps_ros.perception.plan import Plan
from monodvps_ros.perception.pointcloud import pack_cloud
from monodvps_ros.perception.rendering import draw_panoptic, instance_colors
from monodvps_ros.perception.segments import measure_segments
from monodvps_ros.perception.timing import StageTimer
from monodvps_ros.perception.tracker import TrackedInstances
from monodvps_ros.types import CameraFrame, Output, Perception, ScaleEstimate, Segment


@dataclass(frozen=True, eq=False)
class Findings:
    """What the pipeline found in one frame, at the network's size, on the device.

    Attributes:
        image: (H, W, 3) uint8, the camera's, rectified.
        unseen: (h, w) bool, true where rectifying left nothing to see: void, without depth; None where all is seen.
        inverse_depth: (1, 1, h, w) float32 in the network's unit.
        semantic: (h, w) int64 class ids.
        probability: (h, w) float32 of each pixel's class; None where nobody needs it.
        grouping: segments as codes; None where nobody needs them.
        tracked: ids of the instances; None likewise.
        scale: metres per unit of the network's depth.
    """

    image: Tensor
    unseen: Tensor | None
    inverse_depth: Tensor
    semantic: Tensor
    probability: Tensor | None
    grouping: Grouping | None
    tracked: TrackedInstances | None
    scale: ScaleEstimate


@dataclass(frozen=True, eq=False)
class _CodeTables:
    """(S,) values by code of a `Grouping`."""

    class_id: NDArray[np.int64]
    instance_id: NDArray[np.int64]
    panoptic: NDArray[np.uint16]


def publish(
    frame: CameraFrame,
    wanted: frozenset[Output],
    plan: Plan,
    found: Findings,
    labels: LabelSpace,
    config: PipelineConfig,
    timer: StageTimer,
) -> Perception:
    """Make what was asked for; see `Perception` for the shapes.

    Args:
        frame: the camera's image.
        wanted: what to make; a cloud is not made where the camera is not known.
        plan: sizes and tables of this camera.
        found: what was found.
        labels: the model's classes.
        config: range of the cloud and whether sky has depth.
        timer: is told when depth, maps, segments and cloud are done.
    """
    depth = None
    wants_cloud = Output.CLOUD in wanted and plan.cloud_rays is not None
    if Output.DEPTH in wanted or wants_cloud:
        depth = _depth(found, plan, plan.published_size, labels, config)
        timer.done("depth")
    tables = _tables(found, labels)
    panoptic = _by_code(found, tables, plan) if tables and wanted & {Output.PANOPTIC, Output.CLOUD} else None
    color = _color(found, tables, plan, labels) if tables and Output.COLOR in wanted else None
    semantic = confidence = None
    if Output.SEMANTIC in wanted:
        classes = _where_seen(found.semantic.to(torch.uint8), found, VOID_CLASS_ID)
        semantic = _spread(classes, plan).cpu().numpy()
    if Output.CONFIDENCE in wanted and found.probability is not None:
        share = _where_seen((found.probability * 255.0).round().to(torch.uint8), found, 0)
        confidence = _spread(share, plan).cpu().numpy()
    timer.done("maps")
    segments = None
    if tables and Output.SEGMENTS in wanted:
        segments = _segments(found, tables, plan, labels, config)
        timer.done("segments")
    cloud = None
    if wants_cloud and depth is not None and panoptic is not None and plan.cloud_rays is not None:
        stride = plan.cloud_stride
        ids = panoptic[::stride, ::stride].int() & 0xFFFF
        void = ids == VOID_PANOPTIC_ID
        cloud = pack_cloud(
            depth[::stride, ::stride],
            plan.cloud_rays,
            _at_published_size(found.image, plan)[::stride, ::stride],
            torch.where(void, VOID_CLASS_ID, ids // LABEL_DIVISOR),
            torch.where(void, 0, ids % LABEL_DIVISOR),
            config.cloud,
        )
        timer.done("cloud")
    return Perception(
        stamp_ns=frame.stamp_ns,
        frame_id=frame.frame_id,
        intrinsics=plan.published_intrinsics,
        depth_m=depth.cpu().numpy() if depth is not None and Output.DEPTH in wanted else None,
        panoptic=panoptic.cpu().numpy().view(np.uint16) if panoptic is not None and Output.PANOPTIC in wanted else None,
        color=color,
        semantic=semantic,
        confidence=confidence,
        segments=segments,
        cloud=cloud,
        scale=found.scale,
        timings_ms=timer.result_ms(),
    )


def nothing(frame: CameraFrame, plan: Plan, scale: ScaleEstimate) -> Perception:
    """Return the answer to a frame of which nothing is wanted."""
    return Perception(
        frame.stamp_ns, frame.frame_id, plan.published_intrinsics, None, None, None, None, None, None, None, scale
    )


def _depth(found: Findings, plan: Plan, size: tuple[int, int], labels: LabelSpace, config: PipelineConfig) -> Tensor:
    """(H, W) float32 metres; NaN for sky, and for what the camera did not see."""
    depth = found.scale.factor / upsample(found.inverse_depth, size)[0, 0]
    missing = found.unseen
    if not config.sky_depth and "sky" in labels.names:
        sky = found.semantic == labels.class_id("sky")
        missing = sky if missing is None else sky | missing
    if missing is None:
        return depth
    return depth.masked_fill_(_spread(missing, plan) if size == plan.published_size else missing, torch.nan)


def _where_seen(network_map: Tensor, found: Findings, nothing_value: int) -> Tensor:
    return network_map if found.unseen is None else network_map.masked_fill(found.unseen, nothing_value)


def _tables(found: Findings, labels: LabelSpace) -> _CodeTables | None:
    if found.tracked is None:
        return None
    class_id = np.concatenate(([VOID_CLASS_ID], found.tracked.class_id, np.arange(len(labels))))
    class_id[class_id < 0] = VOID_CLASS_ID
    instance_id = np.concatenate(([0], found.tracked.instance_id, np.zeros(len(labels), np.int64)))
    panoptic = np.where(class_id == VOID_CLASS_ID, VOID_PANOPTIC_ID, class_id * LABEL_DIVISOR + instance_id)
    return _CodeTables(class_id, instance_id, panoptic.astype(np.uint16))


def _spread(network_map: Tensor, plan: Plan) -> Tensor:
    """Show a map of the network's size at the published size, each pixel the nearest one."""
    if plan.network_size == plan.published_size:
        return network_map
    return network_map.index_select(0, plan.grid.rows).index_select(1, plan.grid.columns)


def _by_code(found: Findings, tables: _CodeTables, plan: Plan) -> Tensor:
    """(H, W) int16 with the bits of the uint16 panoptic ids, which torch can gather."""
    assert found.grouping is not None
    table = torch.from_numpy(tables.panoptic.view(np.int16)).to(found.semantic.device)
    return _spread(table[found.grouping.codes], plan)


def _color(found: Findings, tables: _CodeTables, plan: Plan, labels: LabelSpace) -> NDArray[np.uint8]:
    assert found.grouping is not None
    colors = torch.from_numpy(instance_colors(tables.class_id, tables.instance_id, labels))
    codes = _spread(found.grouping.codes.int(), plan)
    return draw_panoptic(codes, colors.to(codes.device)).cpu().numpy()


def _at_published_size(image: Tensor, plan: Plan) -> Tensor:
    if plan.camera_size == plan.published_size:
        return image
    rows, columns = (
        (torch.arange(plan.published_size[i], device=image.device) * 2 + 1) * plan.camera_size[i]
        // (2 * plan.published_size[i])
        for i in (0, 1)
    )  # fmt: skip
    return image.index_select(0, rows).index_select(1, columns)


def _segments(
    found: Findings, tables: _CodeTables, plan: Plan, labels: LabelSpace, config: PipelineConfig
) -> tuple[Segment, ...]:
    assert found.grouping is not None and found.probability is not None and found.tracked is not None
    capacity, tracked = found.grouping.capacity, found.tracked
    depth = _depth(found, plan, plan.network_size, labels, config)
    statistics = measure_segments(
        found.grouping.codes, len(tables.panoptic), plan.grid, found.probability, depth, plan.network_rays
    )
    segments = []
    for code in np.flatnonzero((statistics.area_px.numpy() > 0) & (tables.class_id != VOID_CLASS_ID)).tolist():
        is_instance = code <= capacity
        class_id = int(tables.class_id[code])
        x_min, y_min, x_max, y_max = statistics.box_px[code].tolist()
        x, y, z = statistics.centroid_m[code].tolist()
        segments.append(
            Segment(
                panoptic_id=int(tables.panoptic[code]),
                track_id=int(tracked.track_id[code - 1]) if is_instance else 0,
                class_id=class_id,
                class_name=labels.names[class_id],
                is_thing=is_instance,
                score=float(statistics.score[code]),
                area_px=int(statistics.area_px[code]),
                box_px=(x_min, y_min, x_max, y_max),
                median_depth_m=float(statistics.median_depth_m[code]),
                centroid_m=(x, y, z),
                age_frames=int(tracked.age_frames[code - 1]) if is_instance else 0,
            )
        )
    return tuple(segments)
