# SPDX-License-Identifier: Apache-2.0
"""Panoptic-guided triplet loss (Eq. 8)."""

import torch
from torch import Tensor

from monodvps_ros.errors import ShapeError
from monodvps_ros.geometry.resizing import resize_nearest
from monodvps_ros.labels import VOID_PANOPTIC_ID
from monodvps_ros.losses.batch import TermInputs
from monodvps_ros.losses.panoptic_map import panoptic_with_channel
from monodvps_ros.losses.scales import mean_over_scales
from monodvps_ros.shapes import check_shapes

#: Squared lengths and distances below these have no direction: no gradient.
_MIN_SQUARED_LENGTH = 1e-12
_MIN_SQUARED_DISTANCE = 1e-9


def panoptic_triplet(
    features: Tensor,
    panoptic: Tensor,
    patch: int = 5,
    margin: float = 0.3,
    stride: int = 5,
    min_members: int = 4,
) -> Tensor:
    """Ask, in patches across panoptic edges, for features near those of the same segment and far from others: Eq. 8.

    The map is covered by patches of `patch` x `patch` pixels, `stride` apart, the first in the top left corner; those
    that would reach beyond the border are left out. The anchor is the patch's centre. Positives are the pixels of the
    patch with the anchor's panoptic id, the anchor among them; negatives those with another id; void pixels are
    neither, and a patch with a void centre, or with fewer than `min_members` positives or negatives, is left out. With
    d+ and d- the mean L2 distances of the anchor to positives and negatives, all features scaled to length 1, the
    patch's loss is max(0, d+ + margin - d-).

    Args:
        features: (B, C, H, W), not yet normalised; a vector of zeros stays one, without gradient.
        panoptic: (B, H, W) or (B, 1, H, W) at the features' size, integer panoptic ids, void 65535.
        patch: rows and columns of a patch, odd.
        margin: by how much negatives must be farther away than positives.
        stride: pixels between patches: `patch` divides the map as the paper says, 1 gives the dense windows of Jung
            et al.
        min_members: least number of positives, and of negatives, in a patch that counts.

    Returns:
        Scalar: the mean over an image's patches, averaged over the batch. 0, without gradient, where no patch counts
        (one segment, void alone, a map smaller than a patch) and for the perfect fit (negatives farther by the margin).
        Features that are all the same give the margin, without gradient.

    Raises:
        ShapeError: the two disagree on a size, panoptic is not of an integer dtype, or the patch is even or the stride
            not positive.

    Source: Eq. 8 of Petrovai & Nedevschi; distance, minimum of members and the anchor among its positives as in the
    code of Jung et al. 2021 (FSRE-Depth), which pads the map where patches reach beyond it and we do not.
    """
    panoptic = panoptic_with_channel(panoptic)
    sizes = check_shapes(features=(features, "B C H W"), panoptic=(panoptic, "B 1 H W"))
    if patch < 1 or patch % 2 == 0 or stride < 1:
        raise ShapeError(f"patch is {patch} and stride is {stride}: the patch must be odd, the stride at least 1")
    members = _patch_members(sizes["H"], sizes["W"], patch, stride, features.device)
    ids = panoptic.flatten(1)[:, members]
    anchor = ids[..., patch * patch // 2, None]
    same = ids == anchor
    other = ~same & (ids != VOID_PANOPTIC_ID)
    counts = (anchor[..., 0] != VOID_PANOPTIC_ID) & (same.sum(2) >= min_members) & (other.sum(2) >= min_members)
    image, place = counts.nonzero(as_tuple=True)
    pixel = members[place] + (image * sizes["H"] * sizes["W"])[:, None]
    vectors = _unit_length(features).permute(0, 2, 3, 1).reshape(-1, sizes["C"])[pixel]
    distance = _distance_to(vectors, vectors[:, patch * patch // 2, None])
    near, far = _mean_where(distance, same[image, place]), _mean_where(distance, other[image, place])
    loss = (near + margin - far).clamp(min=0.0)
    total = torch.zeros(sizes["B"], dtype=loss.dtype, device=loss.device).index_add(0, image, loss)
    return (total / counts.sum(1).clamp(min=1)).mean()


def _patch_members(height: int, width: int, patch: int, stride: int, device: torch.device) -> Tensor:
    """Return the flat pixel index of each member of each patch, (patches, patch * patch)."""
    rows = torch.arange(0, max(0, height - patch + 1), stride, device=device)
    columns = torch.arange(0, max(0, width - patch + 1), stride, device=device)
    corner = (rows[:, None] * width + columns[None]).flatten()
    step = torch.arange(patch, device=device)
    return corner[:, None] + (step[:, None] * width + step[None]).flatten()[None]


def _unit_length(features: Tensor) -> Tensor:
    square = features.square().sum(1, keepdim=True)
    usable = ~(square <= _MIN_SQUARED_LENGTH)  # NaN too, which must show
    return torch.where(usable, features / torch.where(usable, square, 1.0).sqrt(), 0.0)


def _distance_to(vectors: Tensor, anchors: Tensor) -> Tensor:
    return (vectors - anchors).square().sum(2).clamp(min=_MIN_SQUARED_DISTANCE).sqrt()


def _mean_where(distance: Tensor, chosen: Tensor) -> Tensor:
    return (distance * chosen).sum(1) / chosen.sum(1)


def triplet_term(inputs: TermInputs) -> Tensor:
    """Average `panoptic_triplet` over the scales, each at its own size."""
    ids, config = inputs.panoptic, inputs.config
    return mean_over_scales(
        inputs.prediction.output.depth_features,
        lambda features, size: panoptic_triplet(
            features,
            resize_nearest(ids, size),
            config.triplet_patch,
            config.triplet_margin,
            config.triplet_stride,
            config.triplet_min_members,
        ),
    )
