# SPDX-License-Identifier: Apache-2.0
"""Moving objects, found by what camera motion alone cannot explain (Eq. 9)."""

import torch
from torch import Tensor

from monodvps_ros.errors import ShapeError
from monodvps_ros.geometry import warp_by_depth, warp_by_flow
from monodvps_ros.labels import LABEL_DIVISOR, MAX_CLASS_ID, VOID_PANOPTIC_ID
from monodvps_ros.losses.panoptic_map import panoptic_with_channel, thing_pixels
from monodvps_ros.shapes import check_shapes

#: Stands in reconstructed maps where flow did not carry the right colours: known to be no instance, unlike void, of
#: which nothing is known. Its class, 65, is beyond those that panoptic ids can have.
OCCLUDED_PANOPTIC_ID = (MAX_CLASS_ID + 1) * LABEL_DIVISOR
#: What has less than this share of another's depth is in front of it.
_NEARER = 0.95


def iou_threshold_at(progress: float, start: float = 0.7, end: float = 0.3) -> float:
    """Return the threshold T of `moving_object_mask`, which falls linearly while training goes on.

    Args:
        progress: 0 at the first step, 1 at the last; taken as 0 or 1 outside of them.
        start: T at the first step.
        end: T at the last step.

    Source: section 3.3 of Petrovai & Nedevschi, with T = 0.7 at the start; it does not say where T ends.
    """
    share = min(max(progress, 0.0), 1.0)
    return start + (end - start) * share


def occlusion_mask(source: Tensor, carried: Tensor, threshold: float) -> Tensor:
    """Tell where flow carried the right colours: O = [exp(-|I_s - I_t->s|) > r].

    Args:
        source: (B, C, H, W) source image in 0..1.
        carried: (B, C, H, W) target image, warped to the source by flow.
        threshold: r, in 0..1; 0.9 is a difference of 0.1, 27 of 255 grey levels.

    Returns:
        (B, 1, H, W) bool, true where not occluded.

    Raises:
        ShapeError: the shapes differ.

    Source: section 3.3 of Petrovai & Nedevschi; the difference is averaged over channels (ours).
    """
    check_shapes(source=(source, "B C H W"), carried=(carried, "B C H W"))
    return (-(source - carried).abs().mean(1, keepdim=True)).exp() > threshold


def reconstruct_panoptic(
    panoptic: Tensor,
    target: Tensor,
    source: Tensor,
    flow_px: Tensor,
    depth_m: Tensor,
    *,
    source_from_target: Tensor,
    intrinsics: Tensor,
    occlusion_threshold: float = 0.9,
) -> Tensor:
    """Carry the target's panoptic map to the source by flow, and back by depth and camera motion: Eq. 9.

    P_s->t = (O P^_t->s)<p'>: flow follows both the camera and the objects, depth and camera motion follow the camera
    alone; what comes back in its place stands still.

    Args:
        panoptic: (B, H, W) or (B, 1, H, W) panoptic ids of the target, integer, void 65535.
        target: (B, C, H, W) target image in 0..1.
        source: (B, C, H, W) source image in 0..1.
        flow_px: (B, 2, H, W) (dx, dy) at the source's pixels, pointing into the target.
        depth_m: (B, 1, H, W) depth of the target.
        source_from_target: (B, 4, 4) motion of the camera, as `geometry.warp_by_depth` takes it.
        intrinsics: (B, 3, 3) K of these H x W images.
        occlusion_threshold: r of `occlusion_mask`.

    Returns:
        Panoptic ids of the shape of `panoptic`. `OCCLUDED_PANOPTIC_ID` where O is 0; void where nothing is known: the
        surface leaves the image, lies behind the source camera or has no depth, or flow comes from outside.

    Raises:
        ShapeError: arguments disagree on a size, or panoptic is not of an integer dtype.

    Source: Eq. 9 of Petrovai & Nedevschi. The paper's product with O makes occluded pixels 0, which is a class in our
    ids; hence an id of their own. The paper leaves r open; 0.9 told moving cars from parked ones best on synthetic
    drives.
    """
    ids = panoptic_with_channel(panoptic)
    check_shapes(
        panoptic=(ids, "B 1 H W"),
        target=(target, "B C H W"),
        source=(source, "B C H W"),
        flow_px=(flow_px, "B 2 H W"),
        depth_m=(depth_m, "B 1 H W"),
        source_from_target=(source_from_target, "B 4 4"),
        intrinsics=(intrinsics, "B 3 3"),
    )
    with torch.no_grad():
        carried, inside = warp_by_flow(target, flow_px)
        seen = occlusion_mask(source, carried, occlusion_threshold)
        at_source = warp_by_flow(ids, flow_px, mode="nearest")[0].masked_fill(~seen, OCCLUDED_PANOPTIC_ID)
        at_source = at_source.masked_fill(~inside, VOID_PANOPTIC_ID)
        back, valid = warp_by_depth(at_source, depth_m, source_from_target, intrinsics, mode="nearest")
        return back.masked_fill(~valid, VOID_PANOPTIC_ID).reshape(panoptic.shape)


def reconstruct_depth(depth_m: Tensor, flow_px: Tensor, source_from_target: Tensor, intrinsics: Tensor) -> Tensor:
    """Carry the target's depth to the source by flow and back by depth and camera motion, as `reconstruct_panoptic`.

    Args:
        depth_m: (B, 1, H, W) depth of the target.
        flow_px: (B, 2, H, W) (dx, dy) at the source's pixels, pointing into the target.
        source_from_target: (B, 4, 4) motion of the camera.
        intrinsics: (B, 3, 3) K of these H x W images.

    Returns:
        (B, 1, H, W): for each pixel the target's depth of what is found in its place; NaN where nothing is known.

    Raises:
        ShapeError: arguments disagree on a size.

    Source: ours.
    """
    with torch.no_grad():
        at_source, inside = warp_by_flow(depth_m, flow_px, mode="nearest")
        back, valid = warp_by_depth(
            at_source.masked_fill(~inside, torch.nan), depth_m, source_from_target, intrinsics, mode="nearest"
        )
        return back.masked_fill(~valid, torch.nan)


def moving_object_mask(
    panoptic: Tensor,
    warped_panoptic: Tensor,
    thing_ids: tuple[int, ...],
    iou_threshold: float,
    depth_m: Tensor | None = None,
    warped_depth_m: Tensor | None = None,
) -> Tensor:
    """Find the instances that camera motion does not bring to where they are.

    An instance moves where its masks in the two maps overlap with an IoU below the threshold. Pixels that are void in
    either map are in neither mask; an instance of which no pixel is left is not judged, and is kept. Occluded pixels
    (`OCCLUDED_PANOPTIC_ID`) count as not the instance.

    With depths, a pixel where the maps differ does not count against the farther of the two where the nearer one may
    hide it: anything nearer in the warped map, a nearer thing in the target, which may have moved away. A parked car
    that a cyclist passes stays parked.

    An overlap shows a shift only beside the instance's size: one of less than about 1 - T of its width passes, such as
    that of a near car driving ahead. What stands still in the image, auto-masking leaves out.

    Args:
        panoptic: (B, H, W) or (B, 1, H, W) panoptic ids of the target, integer, void 65535.
        warped_panoptic: the same shape, `reconstruct_panoptic` of it.
        thing_ids: class ids of things; stuff does not move.
        iou_threshold: T, in 0..1; an IoU of exactly T stands still.
        depth_m: (B, 1, H, W) depth of the target; None to do without.
        warped_depth_m: (B, 1, H, W), `reconstruct_depth` of it; NaN hides nothing. None to do without.

    Returns:
        Bool of the shape of `panoptic`: false where a moving instance is in either map, true elsewhere. All true where
        there are no things, where the maps are equal (the perfect fit), and where `warped_panoptic` is all void.

    Raises:
        ShapeError: the shapes differ, a map is not of an integer dtype, only one depth is given, or the threshold is
            not in 0..1.

    Source: section 3.3 of Petrovai & Nedevschi. Ours: that unknown pixels are left out of the IoU (a parked car half
    out of the other image would otherwise count as moving), and the use of depths.
    """
    ids = panoptic_with_channel(panoptic)
    warped = panoptic_with_channel(warped_panoptic, "warped_panoptic")
    check_shapes(
        panoptic=(ids, "B 1 H W"),
        warped_panoptic=(warped, "B 1 H W"),
        depth_m=(depth_m, "B 1 H W"),
        warped_depth_m=(warped_depth_m, "B 1 H W"),
    )
    if not 0.0 <= iou_threshold <= 1.0:
        raise ShapeError(f"iou_threshold is {iou_threshold}; it must be in 0..1")
    if (depth_m is None) != (warped_depth_m is None):
        raise ShapeError("depth_m and warped_depth_m belong together: give both, or neither")
    here = there = (ids != VOID_PANOPTIC_ID) & (warped != VOID_PANOPTIC_ID)
    if depth_m is not None and warped_depth_m is not None:
        differ = (ids != warped) & (warped != OCCLUDED_PANOPTIC_ID)
        here = here & ~(differ & (warped_depth_m < _NEARER * depth_m))
        there = there & ~(differ & (depth_m < _NEARER * warped_depth_m) & thing_pixels(ids, thing_ids))
    moving, warped_moving = _overlap_less(ids, warped, here, there, iou_threshold)
    masked = (moving & thing_pixels(ids, thing_ids)) | (warped_moving & thing_pixels(warped, thing_ids))
    return ~masked.reshape(panoptic.shape)


def _overlap_less(ids: Tensor, warped: Tensor, here: Tensor, there: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Mark the pixels, in either map, of the ids whose masks overlap with an IoU below the threshold.

    Args:
        ids: (B, 1, H, W) panoptic ids.
        warped: (B, 1, H, W) panoptic ids of the other map.
        here: (B, 1, H, W) bool, the pixels of `ids` that count.
        there: (B, 1, H, W) bool, the pixels of `warped` that count.
        threshold: of the IoU; ids without a pixel that counts are not below it.

    Returns:
        Two (B, 1, H, W) bool maps, of the pixels in `ids` and of those in `warped`.
    """
    count = VOID_PANOPTIC_ID + 1
    bins = count * ids.shape[0]
    first = count * torch.arange(ids.shape[0], device=ids.device)[:, None, None, None]
    keys, warped_keys = ids + first, warped + first
    common = torch.bincount(keys[here & (ids == warped)], minlength=bins)
    union = torch.bincount(keys[here], minlength=bins) + torch.bincount(warped_keys[there], minlength=bins) - common
    below = (union > 0) & (common < threshold * union)
    return below[keys], below[warped_keys]
