# SPDX-License-Identifier: Apache-2.0
"""Panoptic-guided smoothness (Eq. 5)."""

from torch import Tensor

from monodvps_ros.geometry.resizing import resize_nearest
from monodvps_ros.losses.batch import TermInputs
from monodvps_ros.losses.panoptic_map import panoptic_edges, panoptic_with_channel
from monodvps_ros.losses.reduction import mean_over_pairs
from monodvps_ros.losses.scales import mean_over_scales
from monodvps_ros.losses.smoothness import absolute_differences, normalize_disparity
from monodvps_ros.shapes import check_shapes


def panoptic_smoothness(disparity: Tensor, panoptic: Tensor) -> Tensor:
    """Ask for equal disparity of neighbouring pixels unless a panoptic edge lies between them: Eq. 5.

    L = |dx d| (1 - dx P) + |dy d| (1 - dy P), with the disparity d divided by its mean and dP 1 at edges. Pairs that
    touch void are no edges, so they are smoothed.

    Args:
        disparity: (B, 1, H, W), not negative.
        panoptic: (B, H, W) or (B, 1, H, W), integer panoptic ids, void 65535.

    Returns:
        Scalar: the mean over all horizontal pixel pairs plus the mean over all vertical ones, edges counting as 0 in
        them. 0, without gradient, for a disparity that is constant in each segment (the perfect fit). One segment, or
        void alone: plain smoothness.

    Raises:
        ShapeError: the two disagree on a size, or panoptic is not of an integer dtype.

    Source: Eqs. 5 and 6 of Petrovai & Nedevschi.
    """
    panoptic = panoptic_with_channel(panoptic)
    check_shapes(disparity=(disparity, "B 1 H W"), panoptic=(panoptic, "B 1 H W"))
    step_x, step_y = absolute_differences(normalize_disparity(disparity))
    edge_x, edge_y = panoptic_edges(panoptic)
    return mean_over_pairs(step_x * ~edge_x, step_y * ~edge_y)


def panoptic_smoothness_term(inputs: TermInputs) -> Tensor:
    """Average `panoptic_smoothness` over the scales, each at its own size."""
    ids = inputs.panoptic
    return mean_over_scales(
        inputs.prediction.output.disparities,
        lambda disparity, size: panoptic_smoothness(disparity, resize_nearest(ids, size)),
    )
