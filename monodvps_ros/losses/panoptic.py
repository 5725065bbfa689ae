# SPDX-License-Identifier: Apache-2.0
"""The losses of Panoptic-DeepLab: class scores, instance centres, offsets to them."""

import torch
from torch import Tensor
from torch.nn import functional

from monodvps_ros.errors import ShapeError
from monodvps_ros.geometry import scale_area, scale_length
from monodvps_ros.geometry.resizing import resize_bilinear
from monodvps_ros.labels import LABEL_DIVISOR, VOID_CLASS_ID, VOID_PANOPTIC_ID
from monodvps_ros.losses.batch import TermInputs
from monodvps_ros.losses.panoptic_map import instance_pixels, panoptic_with_channel, with_channel
from monodvps_ros.losses.reduction import masked_mean
from monodvps_ros.shapes import check_shapes


def class_target(panoptic: Tensor) -> Tensor:
    """Take the class ids out of a panoptic map.

    Args:
        panoptic: (B, H, W) or (B, 1, H, W), integer panoptic ids, void 65535.

    Returns:
        (B, H, W) int64, void 255.

    Raises:
        ShapeError: the layout or dtype differs.
    """
    ids = panoptic_with_channel(panoptic)[:, 0].long()
    return torch.where(ids == VOID_PANOPTIC_ID, VOID_CLASS_ID, ids // LABEL_DIVISOR)


def small_instance_weights(
    panoptic: Tensor, thing_ids: tuple[int, ...], max_area_px: float = 4096, weight: float = 3.0
) -> Tensor:
    """Give the pixels of small instances more weight.

    Args:
        panoptic: (B, H, W) or (B, 1, H, W), integer panoptic ids, void 65535.
        thing_ids: class ids of things.
        max_area_px: instances of fewer pixels than this are small.
        weight: of a small instance's pixels; all others have 1, things without an instance id among them.

    Returns:
        (B, H, W) float32.

    Raises:
        ShapeError: the layout or dtype differs.

    Source: Cheng et al. 2020 (Panoptic-DeepLab), section 3.3: 3 for instances below 64 x 64 pixels.
    """
    ids = panoptic_with_channel(panoptic)[:, 0].long()
    count = VOID_PANOPTIC_ID + 1
    keys = ids + count * torch.arange(ids.shape[0], device=ids.device)[:, None, None]
    area = torch.bincount(keys.flatten(), minlength=count * ids.shape[0])[keys]
    small = instance_pixels(ids, thing_ids) & (area < max_area_px)
    return torch.where(small, weight, 1.0)


def semantic_loss(
    class_logits: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    top: float = 0.2,
    image_weights: Tensor | None = None,
) -> Tensor:
    """Bootstrapped cross-entropy: the mean over the hardest pixels of each image.

    The rule: for each image the cross-entropy of each pixel times its weight, 0 for void; of these H W values the
    int(top H W) largest (at least one) are averaged, voids among them where fewer pixels are labelled; then the mean
    over the batch.

    Args:
        class_logits: (B, C, H, W) scores before softmax.
        target: (B, H, W) or (B, 1, H, W) class ids, integer, void 255.
        weights: (B, H, W) or (B, 1, H, W), not negative, as from `small_instance_weights`; None for 1.
        top: share of the pixels that counts, above 0, at most 1.
        image_weights: (B,) factor of each image's loss; None for 1.

    Returns:
        Scalar; 0, without gradient, where all is void; towards 0 as the right class's score goes to infinity (the
        perfect fit).

    Raises:
        ShapeError: shapes differ, or `top` is not in 0..1.

    Source: Yang et al. 2019 (DeeperLab) and Cheng et al. 2020, section 3.3, with the top 20 %. The published code picks
    over the whole batch (bowenc0221) or for each image (deeplab2); for each image here, so that a batch is the mean of
    its images.
    """
    classes = with_channel(target, "target")[:, 0]
    sizes = check_shapes(class_logits=(class_logits, "B C H W"), target=(classes, "B H W"))
    if not 0.0 < top <= 1.0:
        raise ShapeError(f"top is {top}; it must be above 0 and at most 1")
    scores = class_logits.permute(0, 2, 3, 1).flatten(0, 2)  # a view of channels_last, and twice as fast
    errors = functional.cross_entropy(scores, classes.long().flatten(), ignore_index=VOID_CLASS_ID, reduction="none")
    errors = errors.view(classes.shape)
    if weights is not None:
        weights = with_channel(weights, "weights")[:, 0]
        check_shapes(class_logits=(class_logits, "B C H W"), weights=(weights, "B H W"))
        errors = errors * weights
    count = max(1, int(top * sizes["H"] * sizes["W"]))
    hardest = errors.flatten(1).topk(count, sorted=False).values
    return masked_mean(hardest, torch.ones_like(hardest), image_weights)


def center_loss(
    prediction: Tensor, target: Tensor, weights: Tensor | None = None, image_weights: Tensor | None = None
) -> Tensor:
    """Mean squared error of the centre heatmap, before its factor of 200 (`LossConfig.center`).

    Args:
        prediction: (B, 1, H, W) heatmap.
        target: (B, 1, H, W), 1 at centres, falling off as a Gaussian.
        weights: (B, 1, H, W), 0 where nothing is known (void), else 1; None for 1 everywhere.
        image_weights: (B,) factor of each image's loss; None for 1.

    Returns:
        Scalar: for each image the weighted mean, averaged over the batch. Perfect fit: 0. Weights of 0: 0, without
        gradient.

    Raises:
        ShapeError: shapes differ.

    Source: Cheng et al. 2020, section 3.3.
    """
    check_shapes(prediction=(prediction, "B 1 H W"), target=(target, "B 1 H W"), weights=(weights, "B 1 H W"))
    weights = torch.ones_like(target) if weights is None else weights
    return masked_mean((prediction - target).square(), weights, image_weights)


def offset_loss(
    prediction: Tensor, target: Tensor, weights: Tensor | None = None, image_weights: Tensor | None = None
) -> Tensor:
    """Mean absolute error of the offsets, before its factor of 0.01 (`LossConfig.offset`).

    Args:
        prediction: (B, 2, H, W) (dy, dx) from a pixel to its instance's centre, in pixels.
        target: (B, 2, H, W).
        weights: (B, 1, H, W), 1 on instances, else 0; None for 1 everywhere.
        image_weights: (B,) factor of each image's loss; None for 1.

    Returns:
        Scalar: for each image the weighted mean over pixels and over both components (half of the sum of the two),
        averaged over the batch. Perfect fit: 0, without gradient. Weights of 0: 0, without gradient.

    Raises:
        ShapeError: shapes differ.

    Source: Cheng et al. 2020, section 3.3; the mean over components as in the authors' code.
    """
    check_shapes(prediction=(prediction, "B 2 H W"), target=(target, "B 2 H W"), weights=(weights, "B 1 H W"))
    errors = (prediction - target).abs()
    weights = torch.ones_like(errors) if weights is None else weights.expand_as(errors)
    return masked_mean(errors, weights, image_weights)


def semantic_term(inputs: TermInputs) -> Tensor:
    """Compute `semantic_loss` with scores enlarged to the labels' size."""
    ids, config, batch = inputs.panoptic, inputs.config, inputs.batch
    weights = batch.semantic_weights
    if weights is None:
        limit = scale_area(config.small_instance_px, batch.size)
        weights = small_instance_weights(ids, inputs.thing_ids, limit, config.small_instance_weight)
    logits = resize_bilinear(inputs.prediction.output.class_logits, batch.size)
    return semantic_loss(logits, class_target(ids), weights, config.hard_pixels, inputs.label_weights)


def center_term(inputs: TermInputs) -> Tensor:
    """Compute `center_loss` with the heatmap enlarged to the labels' size."""
    batch, heatmap = inputs.batch, inputs.prediction.output.center_heatmap
    assert heatmap is not None and batch.centers is not None  # the objective asked for them
    return center_loss(resize_bilinear(heatmap, batch.size), batch.centers, batch.center_weights, inputs.label_weights)


def offset_term(inputs: TermInputs) -> Tensor:
    """Compute `offset_loss` with offsets enlarged to the labels' size, in pixels of the paper's images."""
    batch, offsets = inputs.batch, inputs.prediction.output.offsets_px
    assert offsets is not None and batch.offsets_px is not None  # the objective asked for them
    loss = offset_loss(
        resize_bilinear(offsets, batch.size), batch.offsets_px, batch.offset_weights, inputs.label_weights
    )
    return loss / scale_length(1.0, batch.size)
