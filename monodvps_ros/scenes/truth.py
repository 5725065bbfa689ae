# SPDX-License-Identifier: Apache-2.0
"""The truth of a frame: panoptic ids, depth, and the flow to the frame before with what was visible there."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monodvps_ros.labels import CITYSCAPES, LABEL_DIVISOR
from monodvps_ros.scenes.camera import rigid_inverse
from monodvps_ros.scenes.ground import Zone
from monodvps_ros.scenes.raster import Grid
from monodvps_ros.scenes.render import Moment, Seen

_TOLERANCE = 0.01
_SKY = CITYSCAPES.class_id("sky") * LABEL_DIVISOR


@dataclass(frozen=True, eq=False)
class Labelled:
    """What the pixels of one frame see, by ids that hold over the drive; (N,) each, row by row.

    Attributes:
        depth: metres; infinite for the sky.
        panoptic: int64.
        solid: int64 solid of the drive; below 0 for the ground and the sky.
        body: int64; 0 for all that is fixed to the world.
    """

    depth: Tensor
    panoptic: Tensor
    solid: Tensor
    body: Tensor


def label(moment: Moment, seen: Seen) -> Labelled:
    """Look up the ids of what each pixel sees."""
    panoptic = torch.full_like(seen.surface, _SKY)
    zone = seen.ground.zone
    panoptic[seen.ground_rows] = torch.where(zone == int(Zone.CURB), int(Zone.SIDEWALK), zone) * LABEL_DIVISOR
    rows = (seen.surface >= 0).nonzero()[:, 0]
    index = moment.view.index[seen.surface[rows]]
    panoptic[rows] = moment.table.panoptic[index]
    solid = seen.surface.index_copy(0, rows, index)
    body = torch.zeros_like(solid).index_copy(0, rows, moment.table.body[index])
    return Labelled(seen.depth, panoptic, solid, body)


def flow_to_previous(grid: Grid, now: Moment, labelled: Labelled, before: Moment) -> tuple[Tensor, Tensor]:
    """Carry each seen point with its body into the previous frame.

    Returns:
        (N, 2) float32 flow in pixels, NaN where the point was behind the camera or its body absent; and (N,) its
        depth in the previous frame, infinite for the sky.
    """
    device = grid.x.device
    motion = rigid_inverse(before.world_from_camera) @ before.world_from_body
    motion = motion @ rigid_inverse(now.world_from_body) @ now.world_from_camera
    matrix = torch.from_numpy(motion[:, :3]).float().to(device)
    ray = torch.stack([grid.sample_x, grid.sample_y, torch.ones_like(grid.sample_x)], dim=1)
    is_sky = torch.isinf(labelled.depth)
    # In units of depth the sky's translation vanishes, and the near stays exact.
    inverse = torch.where(is_sky, 0.0, 1.0 / labelled.depth)
    point = ray @ matrix[0, :, :3].T + inverse[:, None] * matrix[0, :, 3]
    rows = labelled.body.nonzero()[:, 0]
    if len(rows):
        own = matrix[labelled.body[rows]]
        point[rows] = (own[:, :, :3] @ ray[rows, :, None])[..., 0] + inverse[rows, None] * own[:, :, 3]
    depth = point[:, 2]
    ahead = depth > 1e-3
    place = point[:, :2] / torch.where(ahead, depth, torch.nan)[:, None]
    flow = (place - ray[:, :2]) * now.camera.focal_px
    return flow, torch.where(is_sky, torch.inf, depth / inverse)


def seen_before(
    flow: Tensor, expected_depth: Tensor, labelled: Labelled, before: Labelled, size: tuple[int, int]
) -> Tensor:
    """Say which points the previous frame, of `size` (height, width), saw too: (N,) bool.

    A point was seen if it falls into the image and the previous frame shows the same surface (the same solid, hence the
    same id) there at its depth: of the four pixels around, those that see the same surface have at least half the
    weight, and their inverse depths, interpolated, agree with `expected_depth` within 1 %.
    """
    height, width = size
    v, u = torch.meshgrid(
        torch.arange(height, device=flow.device), torch.arange(width, device=flow.device), indexing="ij"
    )
    u, v = u.flatten() + flow[:, 0], v.flatten() + flow[:, 1]
    inside = (u > -0.5) & (u < width - 0.5) & (v > -0.5) & (v < height - 0.5)
    u, v = torch.where(inside, u, 0.0), torch.where(inside, v, 0.0)
    column, row = u.floor(), v.floor()
    right, down = u - column, v - row
    columns = [column.clamp(min=0.0).int(), (column + 1).clamp(max=width - 1.0).int()]
    rows = [row.clamp(min=0.0).int() * width, (row + 1).clamp(max=height - 1.0).int() * width]
    inverse_before, expected = 1.0 / before.depth, 1.0 / expected_depth
    weight, total = torch.zeros_like(u), torch.zeros_like(u)
    for share_v, at_row in ((1.0 - down, rows[0]), (down, rows[1])):
        for share_u, at_column in ((1.0 - right, columns[0]), (right, columns[1])):
            at = at_row + at_column
            share = share_u * share_v * (before.solid[at] == labelled.solid)
            weight += share
            total += share * inverse_before[at]
    agrees = (total / weight.clamp(min=1e-6) - expected).abs() <= _TOLERANCE * expected
    return inside & (weight >= 0.5) & agrees


def as_maps(
    labelled: Labelled, flow: Tensor, visible: Tensor, size: tuple[int, int]
) -> tuple[NDArray[np.uint16], NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Bring panoptic (H, W), depth (H, W), flow (H, W, 2) and visibility (H, W) down as `FrameTruth` has them."""
    depth = torch.where(torch.isinf(labelled.depth), torch.nan, labelled.depth)
    return (
        labelled.panoptic.view(size).cpu().numpy().astype(np.uint16),
        depth.view(size).cpu().numpy(),
        flow.view(*size, 2).cpu().numpy(),
        visible.view(size).cpu().numpy(),
    )
