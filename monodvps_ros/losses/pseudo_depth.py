# SPDX-License-Identifier: Apache-2.0
"""Depth learned from a teacher's inverse depth, whose scale and shift nobody knows."""

import torch
from torch import Tensor

from monodvps_ros.geometry.resizing import resize_bilinear
from monodvps_ros.losses.batch import TermInputs
from monodvps_ros.losses.panoptic_map import with_channel
from monodvps_ros.losses.reduction import masked_mean
from monodvps_ros.shapes import check_shapes

_LEAST_SPREAD = 1e-6


def scale_shift_invariant(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compare inverse depths up to a scale above 0 and a shift.

    Over an image's known pixels let t(d) be the median of d (the lower of two in the middle) and s(d) the mean of
    |d - t(d)|. With d' = (d - t(d)) / s(d) of both maps, L = mean |prediction' - target'| / 2.

    Args:
        prediction: (B, 1, H, W) inverse depth, or the network's disparity, which is it up to scale and shift. A spread
            s below 1e-6 is taken as 1e-6.
        target: (B, 1, H, W) inverse depth in any unit, larger is nearer; pixels that are not finite are not known.
        mask: (B, 1, H, W) or (B, H, W), 1 or true where the target is to be used; None for wherever it is known.

    Returns:
        Scalar: the mean over the batch, in 0..1 for each image. Perfect fit, also after a scale and a shift: 0. An
        image in which fewer than two values are known, or all are the same, counts as 0, without gradient.

    Raises:
        ShapeError: shapes differ.

    Source: Ranftl et al. 2020 (MiDaS), section 5: the scale- and shift-invariant loss with absolute errors and robust
    estimates of scale and shift; without its trimming and its gradient term.
    """
    used = torch.ones_like(target, dtype=torch.bool) if mask is None else with_channel(mask, "mask") > 0
    check_shapes(prediction=(prediction, "B 1 H W"), target=(target, "B 1 H W"), mask=(used, "B 1 H W"))
    used = (used & target.isfinite()).flatten(1)
    true, true_spread = _centered(target.flatten(1), used)
    guess, spread = _centered(prediction.flatten(1), used)
    used = used & (true_spread > 0)
    true = true / torch.where(true_spread > 0, true_spread, 1.0)
    return masked_mean((guess / spread.clamp(min=_LEAST_SPREAD) - true).abs() / 2, used)


def _centered(values: Tensor, used: Tensor) -> tuple[Tensor, Tensor]:
    """(B, N) values less the median of those used, and (B, 1) the mean of their absolute values; 0 where not used."""
    known = torch.where(used, values, torch.nan)
    median = torch.where(used.any(1), known.nanmedian(1).values, 0.0)
    centered = torch.where(used, values - median[:, None], 0.0)
    return centered, centered.abs().sum(1, keepdim=True) / used.sum(1, keepdim=True).clamp(min=1)


def pseudo_depth_term(inputs: TermInputs) -> Tensor:
    """Average `scale_shift_invariant` over the scales, each enlarged to the teacher's size."""
    inverse_depth = inputs.batch.inverse_depth
    assert inverse_depth is not None  # the objective asked for it
    losses = [
        scale_shift_invariant(resize_bilinear(disparity, inputs.batch.size), inverse_depth)
        for disparity in inputs.prediction.output.disparities
    ]
    return torch.stack(losses).mean()
