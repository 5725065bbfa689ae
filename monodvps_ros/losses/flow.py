# SPDX-License-Identifier: Apache-2.0
"""Self-supervised optical flow: photometric, aware of occlusion, smooth."""

import torch
from torch import Tensor

from monodvps_ros.geometry import visible_both_ways, warp_by_flow
from monodvps_ros.losses.batch import TermInputs
from monodvps_ros.losses.photometric import photometric_error
from monodvps_ros.losses.reduction import masked_mean, mean_over_pairs, nan_unless_finite
from monodvps_ros.losses.scales import resize_area, resize_flow
from monodvps_ros.losses.smoothness import absolute_differences
from monodvps_ros.shapes import check_shapes

#: How fast smoothness gives way to image edges.
_EDGE_WEIGHT = 10.0


def flow_photometric_loss(
    flow_px: Tensor, image: Tensor, other: Tensor, visible: Tensor | None = None, alpha: float = 0.85
) -> Tensor:
    """Compare an image with another one warped to it by flow, where the surface is seen in both.

    Args:
        flow_px: (B, 2, H, W) (dx, dy) at the image's pixels, pointing into the other image.
        image: (B, 3, H, W) in 0..1.
        other: (B, 3, H, W) in 0..1.
        visible: (B, 1, H, W) bool, true where the surface is seen in both; None for wherever flow ends inside.
        alpha: as in `photometric_error`.

    Returns:
        Scalar: for each image the mean over the visible pixels, averaged over the batch. Perfect fit: 0. Nothing
        visible: 0, without gradient.

    Raises:
        ShapeError: shapes differ.

    Source: Eq. 3 of Petrovai & Nedevschi on an image warped by flow, as section 3.1 asks for.
    """
    check_shapes(
        flow_px=(flow_px, "B 2 H W"),
        image=(image, "B 3 H W"),
        other=(other, "B 3 H W"),
        visible=(visible, "B 1 H W"),
    )
    warped, inside = warp_by_flow(other, flow_px)
    return masked_mean(photometric_error(warped, image, alpha), inside if visible is None else inside & visible)


def flow_smoothness(flow_px: Tensor, image: Tensor) -> Tensor:
    """Ask for flow that changes evenly unless the image has an edge: second order, edge-aware.

    L = |dxx f| exp(-10 |dx I|) + |dyy f| exp(-10 |dy I|), with f the flow in shares of the shorter side of the image
    and both averaged over their channels.

    Args:
        flow_px: (B, 2, H, W) (dx, dy) in pixels of this image.
        image: (B, C, H, W) in 0..1.

    Returns:
        Scalar: half of the mean over all horizontal triples of pixels plus that over all vertical ones. 0, without
        gradient, for flow that is linear in the pixel coordinates, such as none (the perfect fit).

    Raises:
        ShapeError: the two disagree on a size.

    Source: Liu et al. 2020 (ARFlow), section 3.1 and their published settings.
    """
    sizes = check_shapes(flow_px=(flow_px, "B 2 H W"), image=(image, "B C H W"))
    bend_x = flow_px[..., 2:] - 2 * flow_px[..., 1:-1] + flow_px[..., :-2]
    bend_y = flow_px[..., 2:, :] - 2 * flow_px[..., 1:-1, :] + flow_px[..., :-2, :]
    color_x, color_y = (step.mean(1, keepdim=True) for step in absolute_differences(image))
    weight_x = (-_EDGE_WEIGHT * color_x[..., 1:]).exp()
    weight_y = (-_EDGE_WEIGHT * color_y[..., 1:, :]).exp()
    bends = (bend.abs().mean(1, keepdim=True) for bend in (bend_x, bend_y))
    triples = (bend * weight for bend, weight in zip(bends, (weight_x, weight_y), strict=True))
    return 0.5 * mean_over_pairs(*triples) / min(sizes["H"], sizes["W"])


def flow_loss(
    flow_px: Tensor,
    image: Tensor,
    previous: Tensor,
    flow_back_px: Tensor | None = None,
    *,
    smoothness: float = 75.0,
    alpha: float = 0.85,
) -> Tensor:
    """Train flow by warping: photometric where visible, plus weighted smoothness, in both directions where given.

    A pixel is visible where there and back again ends near where it began (`geometry.visible_both_ways`); without
    backward flow, where flow ends inside the image.

    Args:
        flow_px: (B, 2, H, W) (dx, dy) from the image to the previous one, in pixels of these images.
        image: (B, 3, H, W) in 0..1.
        previous: (B, 3, H, W) in 0..1.
        flow_back_px: (B, 2, H, W) from the previous image to this one; then the loss is the mean of both directions.
        smoothness: weight of `flow_smoothness`; 0 leaves it out.
        alpha: as in `photometric_error`.

    Returns:
        Scalar. Standing camera with no flow, or another perfect fit whose flow is linear: 0. Nothing visible: the
        smoothness alone.

    Raises:
        ShapeError: shapes differ.

    Source: photometric training after section 3.1 of Petrovai & Nedevschi, who leave occlusion and smoothness open:
    forward-backward check of Meister et al. 2018 (UnFlow), smoothness and its weight of Liu et al. 2020 (ARFlow).
    """
    if flow_back_px is None:
        return _one_direction(flow_px, image, previous, None, smoothness, alpha)
    with torch.no_grad():
        seen, seen_back = visible_both_ways(flow_px, flow_back_px), visible_both_ways(flow_back_px, flow_px)
    return 0.5 * (
        _one_direction(flow_px, image, previous, seen, smoothness, alpha)
        + _one_direction(flow_back_px, previous, image, seen_back, smoothness, alpha)
    )


def _one_direction(
    flow_px: Tensor, image: Tensor, other: Tensor, visible: Tensor | None, smoothness: float, alpha: float
) -> Tensor:
    loss = flow_photometric_loss(flow_px, image, other, visible, alpha)
    return loss + smoothness * flow_smoothness(flow_px, image) if smoothness > 0 else loss


def flow_term(inputs: TermInputs) -> Tensor:
    """Average `flow_loss` over the scales, each at its own size; smoothness at the finest alone (Liu et al. 2020)."""
    batch, prediction, config = inputs.batch, inputs.prediction, inputs.config
    losses = []
    for place, flow in enumerate(prediction.output.flow_px):
        size = (flow.shape[2], flow.shape[3])
        back = prediction.flow_back_px[place] if prediction.flow_back_px else None
        losses.append(
            flow_loss(
                resize_flow(flow, size, batch.size),
                resize_area(batch.image, size),
                resize_area(batch.sources[0], size),
                None if back is None else resize_flow(back, size, batch.size),
                smoothness=0.0 if place else config.flow_smoothness,
                alpha=config.ssim_share,
            )
        )
    return nan_unless_finite(torch.stack(losses).mean(), *prediction.output.flow_px, *prediction.flow_back_px)
