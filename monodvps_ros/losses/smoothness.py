# SPDX-License-Identifier: Apache-2.0
"""Edge-aware smoothness of the disparity (Eq. 4), and what the panoptic-guided losses share with it."""

from torch import Tensor

from monodvps_ros.losses.batch import TermInputs
from monodvps_ros.losses.reduction import mean_over_pairs
from monodvps_ros.losses.scales import mean_over_scales, resize_area
from monodvps_ros.shapes import check_shapes

_EPSILON = 1e-7


def normalize_disparity(disparity: Tensor) -> Tensor:
    """Divide a disparity map by its mean over the image plus 1e-7, so that shrinking it wins nothing.

    Args:
        disparity: (B, 1, H, W), not negative.

    Returns:
        (B, 1, H, W), of mean 1; 0 for a map of zeros.

    Source: Wang et al. 2018 (mean-normalised inverse depth), as used by Godard et al. 2019.
    """
    return disparity / (disparity.mean((2, 3), keepdim=True) + _EPSILON)


def absolute_differences(map_: Tensor) -> tuple[Tensor, Tensor]:
    """Take absolute forward differences.

    Args:
        map_: (B, C, H, W).

    Returns:
        Along rows, (B, C, H, W - 1), and along columns, (B, C, H - 1, W); the gradient at equal values is 0.
    """
    return (map_[..., 1:] - map_[..., :-1]).abs(), (map_[..., 1:, :] - map_[..., :-1, :]).abs()


def edge_aware_smoothness(disparity: Tensor, image: Tensor) -> Tensor:
    """Ask for equal disparity of neighbouring pixels unless the image changes there: Eq. 4.

    L = |dx d| exp(-|dx I|) + |dy d| exp(-|dy I|), with the disparity d divided by its mean and the image's differences
    averaged over its channels.

    Args:
        disparity: (B, 1, H, W), not negative.
        image: (B, C, H, W) in 0..1.

    Returns:
        Scalar: the mean over all horizontal pixel pairs plus the mean over all vertical ones. 0, without gradient, for
        a constant disparity (the perfect fit), also for one of zeros.

    Raises:
        ShapeError: the two disagree on a size.

    Source: Eq. 4 of Petrovai & Nedevschi, after Godard et al. 2019, Eq. 3.
    """
    check_shapes(disparity=(disparity, "B 1 H W"), image=(image, "B C H W"))
    step_x, step_y = absolute_differences(normalize_disparity(disparity))
    color_x, color_y = (step.mean(1, keepdim=True) for step in absolute_differences(image))
    return mean_over_pairs(step_x * (-color_x).exp(), step_y * (-color_y).exp())


def smoothness_term(inputs: TermInputs) -> Tensor:
    """Average `edge_aware_smoothness` over the scales, each at its own size."""
    return mean_over_scales(
        inputs.prediction.output.disparities,
        lambda disparity, size: edge_aware_smoothness(disparity, resize_area(inputs.batch.image, size)),
    )
