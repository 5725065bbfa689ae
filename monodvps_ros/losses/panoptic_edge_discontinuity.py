# SPDX-License-Identifier: Apache-2.0
"""Panoptic-guided edge discontinuity (Eq. 7)."""

from torch import Tensor

from monodvps_ros.geometry.resizing import resize_nearest
from monodvps_ros.losses.batch import TermInputs
from monodvps_ros.losses.panoptic_map import panoptic_edges, panoptic_with_channel
from monodvps_ros.losses.reduction import mean_over_pairs
from monodvps_ros.losses.scales import mean_over_scales
from monodvps_ros.losses.smoothness import absolute_differences, normalize_disparity
from monodvps_ros.shapes import check_shapes


def panoptic_edge_discontinuity(disparity: Tensor, panoptic: Tensor) -> Tensor:
    """Ask for a jump of the disparity across each panoptic edge: Eq. 7.

    L = dx P exp(-|dx d|) + dy P exp(-|dy d|), with the disparity d divided by its mean and dP 1 at edges. Pairs that
    touch void are no edges.

    Args:
        disparity: (B, 1, H, W), not negative.
        panoptic: (B, H, W) or (B, 1, H, W), integer panoptic ids, void 65535.

    Returns:
        Scalar: the mean over all horizontal pixel pairs plus the mean over all vertical ones, pairs without an edge
        counting as 0 in them. 0, without gradient, where there is no edge (one segment, or void alone). A constant
        disparity gives the share of edges among the pairs, and no gradient.

    Raises:
        ShapeError: the two disagree on a size, or panoptic is not of an integer dtype.

    Source: Eqs. 6 and 7 of Petrovai & Nedevschi.
    """
    panoptic = panoptic_with_channel(panoptic)
    check_shapes(disparity=(disparity, "B 1 H W"), panoptic=(panoptic, "B 1 H W"))
    step_x, step_y = absolute_differences(normalize_disparity(disparity))
    edge_x, edge_y = panoptic_edges(panoptic)
    return mean_over_pairs((-step_x).exp() * edge_x, (-step_y).exp() * edge_y)


def panoptic_edges_term(inputs: TermInputs) -> Tensor:
    """Average `panoptic_edge_discontinuity` over the scales, each at its own size."""
    ids = inputs.panoptic
    return mean_over_scales(
        inputs.prediction.output.disparities,
        lambda disparity, size: panoptic_edge_discontinuity(disparity, resize_nearest(ids, size)),
    )
