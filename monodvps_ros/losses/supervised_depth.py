# SPDX-License-Identifier: Apache-2.0
"""Depth learned from measured depth, for the supervised variant."""

import torch
from torch import Tensor

from monodvps_ros.errors import ShapeError
from monodvps_ros.geometry.resizing import resize_bilinear
from monodvps_ros.losses.batch import TermInputs
from monodvps_ros.losses.panoptic_map import with_channel
from monodvps_ros.losses.reduction import masked_mean
from monodvps_ros.shapes import check_shapes

_MIN_DEPTH = 1e-6


def scale_invariant_log(
    prediction: Tensor, target: Tensor, mask: Tensor | None = None, scale_invariance: float = 1.0
) -> Tensor:
    """Compare depths by their logarithms, up to a common factor.

    With e = log(prediction) - log(target) over an image's measured pixels, L = mean(e^2) - s mean(e)^2.

    Args:
        prediction: (B, 1, H, W) depth; below 1e-6 it is taken as 1e-6, without gradient.
        target: (B, 1, H, W) depth; pixels that are not finite or not positive are not measured.
        mask: (B, 1, H, W) or (B, H, W), 1 or true where the target is to be used; None for wherever it is measured.
        scale_invariance: s, in 0..1. 1: a common factor costs nothing (the variance of e). 0.5: half of it, so that
            the metric scale is learned too.

    Returns:
        Scalar: the mean over the batch. Perfect fit, and for s = 1 any multiple of it: 0, without gradient. An image
        without measured pixels counts as 0, without gradient.

    Raises:
        ShapeError: shapes differ, or `scale_invariance` is not in 0..1.

    Source: Eigen et al. 2014, Eqs. 3 and 4 (s = 0.5 there for training); s = 1 as in ViP-DeepLab (Qiao et al. 2021).
    """
    used = torch.ones_like(target, dtype=torch.bool) if mask is None else with_channel(mask, "mask") > 0
    check_shapes(prediction=(prediction, "B 1 H W"), target=(target, "B 1 H W"), mask=(used, "B 1 H W"))
    if not 0.0 <= scale_invariance <= 1.0:
        raise ShapeError(f"scale_invariance is {scale_invariance}; it must be in 0..1")
    used = used & (target > 0) & target.isfinite()
    error = torch.where(used, prediction, 1.0).clamp(min=_MIN_DEPTH).log() - torch.where(used, target, 1.0).log()
    number = used.sum((1, 2, 3), keepdim=True).clamp(min=1)
    mean = error.sum((1, 2, 3), keepdim=True) / number
    # mean(e^2) - s mean(e)^2, written so that nothing cancels: the variance plus what is left of the squared mean.
    return masked_mean((error - mean).square() + (1.0 - scale_invariance) * mean.square(), used)


def supervised_depth_term(inputs: TermInputs) -> Tensor:
    """Average `scale_invariant_log` over the scales, each enlarged to the measured depth's size."""
    depth_m, config = inputs.batch.depth_m, inputs.config
    assert depth_m is not None  # the objective asked for it
    losses = [
        scale_invariant_log(
            inputs.depth_m(resize_bilinear(disparity, inputs.batch.size)),
            depth_m,
            scale_invariance=config.scale_invariance,
        )
        for disparity in inputs.prediction.output.disparities
    ]
    return torch.stack(losses).mean()
