# SPDX-License-Identifier: Apache-2.0
"""What follows from depth, panoptic map and K: segments where there are none, cloud and boxes."""

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monodvps_ros.config import CloudConfig, ScaleConfig
from monodvps_ros.labels import LABEL_DIVISOR, VOID_PANOPTIC_ID, LabelSpace, decode_panoptic
from monodvps_ros.outputs import Box3D, Perception, Segment
from monodvps_ros.perception.boxes import fit_boxes, ground_of
from monodvps_ros.perception.metric_scale import find_road_plane
from monodvps_ros.perception.pointcloud import as_points, pack_cloud, pixel_rays
from monodvps_ros.perception.rendering import instance_colors
from monodvps_ros.perception.segments import PublishedGrid, measure_segments

#: Points of a cloud at most: viewers draw a million with ease, but not in each of hundreds of frames.
MOST_POINTS = 60_000


def completed(perception: Perception, labels: LabelSpace) -> Perception:
    """Add to a frame what follows from its maps, as the node computes it.

    Args:
        perception: whose maps are of one size.
        labels: its classes.
    """
    if perception.panoptic is None:
        return perception
    size = perception.panoptic.shape[0], perception.panoptic.shape[1]
    intrinsics = perception.intrinsics
    rays = None if intrinsics is None else pixel_rays(intrinsics, size, 1, torch.device("cpu"))
    if perception.segments is None:
        perception = replace(perception, segments=segments_of(perception, rays, labels))
    if rays is None or perception.depth_m is None or not perception.scale.is_known:
        return perception
    return replace(perception, cloud=_cloud(perception, rays, labels), boxes=_boxes(perception, rays, labels))


def segments_of(perception: Perception, rays: Tensor | None, labels: LabelSpace) -> tuple[Segment, ...]:
    """Measure the segments of a panoptic map; their instance ids stand for the ids of their tracks.

    Scores are NaN, since a map does not say them.
    """
    assert perception.panoptic is not None
    ids, code_of_pixel = np.unique(perception.panoptic, return_inverse=True)
    height, width = perception.panoptic.shape
    codes = torch.from_numpy(code_of_pixel.reshape(height, width).astype(np.int64))
    grid = PublishedGrid(torch.arange(height), torch.arange(width), (height, width))
    depth = None if perception.depth_m is None else torch.from_numpy(perception.depth_m)
    measured = measure_segments(codes, len(ids), grid, torch.ones(height, width), depth, rays)
    segments = []
    for code in np.flatnonzero(ids != VOID_PANOPTIC_ID).tolist():
        class_id, instance_id = divmod(int(ids[code]), LABEL_DIVISOR)
        x_min, y_min, x_max, y_max = measured.box_px[code].tolist()
        x, y, z = measured.centroid_m[code].tolist()
        segments.append(
            Segment(
                panoptic_id=int(ids[code]),
                track_id=instance_id,
                class_id=class_id,
                class_name=labels.names[class_id],
                is_thing=instance_id > 0,
                score=math.nan,
                area_px=int(measured.area_px[code]),
                box_px=(x_min, y_min, x_max, y_max),
                median_depth_m=float(measured.median_depth_m[code]),
                centroid_m=(x, y, z),
                age_frames=0,
            )
        )
    return tuple(segments)


def _cloud(perception: Perception, rays: Tensor, labels: LabelSpace) -> NDArray[np.void]:
    assert perception.panoptic is not None and perception.depth_m is not None
    class_ids, instance_ids = decode_panoptic(perception.panoptic)
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(labels)] = labels.colors
    image = palette[class_ids] if perception.image is None else perception.image
    step = max(1, math.ceil(math.sqrt(class_ids.size / MOST_POINTS)))
    parts = (perception.depth_m, image, class_ids.astype(np.int64), instance_ids.astype(np.int64))
    depth, color, label, instance = (torch.from_numpy(np.array(part[::step, ::step])) for part in parts)
    words = pack_cloud(depth, rays[:, ::step, ::step], color, label, instance, CloudConfig(organized=False))
    return as_points(words.numpy())


def _boxes(perception: Perception, rays: Tensor, labels: LabelSpace) -> tuple[Box3D, ...]:
    assert perception.panoptic is not None and perception.depth_m is not None
    things = dict(enumerate((segment for segment in perception.segments or () if segment.is_thing), start=1))
    code_of = np.zeros(VOID_PANOPTIC_ID + 1, np.int64)
    for code, segment in things.items():
        code_of[segment.panoptic_id] = code
    depth = torch.from_numpy(perception.depth_m)
    is_road = torch.from_numpy(perception.panoptic // LABEL_DIVISOR == labels.class_id("road"))
    ground = ground_of(find_road_plane(depth, rays, is_road, ScaleConfig().min_road_points))
    points = (torch.cat((rays, torch.ones_like(rays[:1]))) * depth).movedim(0, -1).numpy()
    ids = np.array([0, *(segment.panoptic_id for segment in things.values())], np.int64)
    colors = instance_colors(ids // LABEL_DIVISOR, ids % LABEL_DIVISOR, labels)
    return fit_boxes(code_of[perception.panoptic], points, things, colors, ground, CloudConfig().max_range_m)
