# SPDX-License-Identifier: Apache-2.0
"""How a map of errors becomes one number.

Each loss of this package is first a number for each image, then the mean of those over the batch: the loss of a batch
of two is the mean of the losses of two batches of one, also where masks differ.
"""

import torch
from torch import Tensor


def masked_mean(values: Tensor, weights: Tensor, image_weights: Tensor | None = None) -> Tensor:
    """Average each image's values by their weights, then the images.

    Args:
        values: (B, ...) floating; may be anything, also infinite, where the weight is 0.
        weights: the shape of `values`, bool or not negative.
        image_weights: (B,) factor of each image's mean; None for 1.

    Returns:
        Scalar. An image whose weights are all 0 counts as 0, and no gradient reaches it.
    """
    used = weights > 0
    weights = weights.to(values.dtype)
    total = (torch.where(used, values, 0.0) * weights).flatten(1).sum(1)
    weight = weights.flatten(1).sum(1)
    means = total / torch.where(weight > 0, weight, 1.0)
    return (means if image_weights is None else means * image_weights.to(means)).mean()


def mean_over_pairs(horizontal: Tensor, vertical: Tensor) -> Tensor:
    """Return the mean over all horizontal pixel pairs plus the mean over all vertical ones.

    All pairs of all images count in the denominators, also those whose value a mask has set to 0. A map of one
    column has no horizontal pairs: that mean is 0; the same for one row.

    Args:
        horizontal: (B, 1, H, W - 1).
        vertical: (B, 1, H - 1, W).
    """
    return horizontal.sum() / max(1, horizontal.numel()) + vertical.sum() / max(1, vertical.numel())


def nan_unless_finite(loss: Tensor, *made_of: Tensor) -> Tensor:
    """Return a loss, or NaN where a tensor that it was made of is not finite.

    Warping takes NaN for a pixel that it cannot see and leaves it out; without this a network that has gone to NaN
    would have a photometric loss of 0.

    Args:
        loss: scalar.
        *made_of: tensors of any shape.
    """
    finite = torch.stack([tensor.detach().isfinite().all() for tensor in made_of]).all()
    return loss.masked_fill(~finite, torch.nan)
