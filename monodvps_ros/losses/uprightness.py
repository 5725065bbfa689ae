# SPDX-License-Identifier: Apache-2.0
"""What stands on the ground stands upright: going up a facade or the back of a lorry, depth hardly changes."""

import math

import torch
from torch import Tensor

from monodvps_ros.geometry.resizing import resize_nearest
from monodvps_ros.labels import LABEL_DIVISOR
from monodvps_ros.losses.batch import TermInputs
from monodvps_ros.losses.panoptic_map import panoptic_with_channel
from monodvps_ros.losses.reduction import masked_mean
from monodvps_ros.losses.scales import mean_over_scales
from monodvps_ros.shapes import check_shapes

#: Distances between the two pixels of a pair, as shares of the image's height.
RISES = (1 / 16, 1 / 8, 1 / 4)
#: Factor between the depths of a pair's two pixels that costs nothing: the rear window of a car slopes.
SLACK = 1.2


def uprightness(depth: Tensor, panoptic: Tensor, upright_ids: tuple[int, ...]) -> Tensor:
    """Ask that depth does not change by more than a fifth between a pixel of an upright segment and one above it.

    L = max(0, |log(upper / lower)| - log 1.2), for pairs of pixels of one segment in one column, a sixteenth, an eighth
    and a quarter of the image's height apart. The gradient reaches the upper pixel alone: near the ground depth is
    easier to see, and a LiDAR on a car seldom reaches high. Where nothing is measured up there, it is all that keeps
    depth from falling.

    Args:
        depth: (B, 1, H, W), positive.
        panoptic: (B, H, W) or (B, 1, H, W), integer panoptic ids, void 65535; what of a class has no instance id is one
            segment.
        upright_ids: class ids of what is upright.

    Returns:
        Scalar: the mean over an image's pairs, then over the batch. An image without a pair counts as 0, without
        gradient.

    Raises:
        ShapeError: the two disagree on a size, or panoptic is not of an integer dtype.
    """
    panoptic = panoptic_with_channel(panoptic)
    check_shapes(depth=(depth, "B 1 H W"), panoptic=(panoptic, "B 1 H W"))
    upright = torch.isin(panoptic // LABEL_DIVISOR, panoptic.new_tensor(upright_ids))
    height, log_depth = depth.shape[2], depth.log()
    changes, pairs = [], []
    for rise in sorted({max(1, round(share * height)) for share in RISES if height > 1}):
        change = log_depth[..., :-rise, :] - log_depth[..., rise:, :].detach()
        changes.append((change.abs() - math.log(SLACK)).clamp(min=0).flatten(1))
        pairs.append((upright[..., rise:, :] & (panoptic[..., rise:, :] == panoptic[..., :-rise, :])).flatten(1))
    if not changes:
        return depth.new_zeros(())
    return masked_mean(torch.cat(changes, 1), torch.cat(pairs, 1))


def uprightness_term(inputs: TermInputs) -> Tensor:
    """Average `uprightness` over the scales, each at its own size."""
    ids = inputs.panoptic
    return mean_over_scales(
        inputs.prediction.output.disparities,
        lambda disparity, size: uprightness(inputs.depth_m(disparity), resize_nearest(ids, size), inputs.upright_ids),
    )
