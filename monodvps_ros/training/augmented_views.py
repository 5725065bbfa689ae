# SPDX-License-Identifier: Apache-2.0
"""What a network says of an image at several sizes and mirrored, averaged (test-time augmentation)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from monodvps_ros.geometry.resizing import resize_bilinear, resize_image
from monodvps_ros.types import NetworkOutput

#: Sizes of images that a network takes are multiples of this.
SIZE_STEP = 32


def average_views(
    infer: Callable[[Tensor], NetworkOutput],
    image: Tensor,
    size: tuple[int, int],
    scales: Sequence[float],
    flips: bool,
) -> NetworkOutput:
    """Look at an image at several sizes, and mirrored, and average class probabilities, centre heatmaps and offsets.

    Every view is resized from the image itself. What is said of a view is brought to `size` bilinearly; offsets are
    scaled with it, and those of a mirrored view have their dx turned round.

    Args:
        infer: a network with centres and offsets, for an image of any size in multiples of 32.
        image: (1, 3, H, W) float in 0..1.
        size: (h, w) of scale 1 and of the result.
        scales: shares of `size`; each is rounded to a multiple of 32, at least 32.
        flips: look at each size mirrored too.

    Returns:
        Of `size`: `class_logits` as logarithms of the mean probabilities, `center_heatmap`, `offsets_px`; the finest
        disparity of the view at the largest scale, at its own size.

    Source: the test-time augmentation of Chen et al. 2020 (Naive-Student), section 3, with its flips and scales.
    """
    probability = heatmap = offsets = disparity = torch.zeros(())
    for scale in sorted(scales):
        viewed = view_size(size, scale)
        view = resize_image(image, viewed)
        of_this_scale = []
        for mirrored in (False, True) if flips else (False,):  # one at a time: large views fill the memory
            output = infer(view.flip(3) if mirrored else view)
            assert output.center_heatmap is not None and output.offsets_px is not None  # our own network
            factor = image.new_tensor([size[0] / viewed[0], size[1] / viewed[1] * (-1 if mirrored else 1)])
            maps = (
                resize_bilinear(output.class_logits.float(), size).softmax(1),
                resize_bilinear(output.center_heatmap.float(), size),
                resize_bilinear(output.offsets_px.float(), size) * factor[:, None, None],
                output.disparities[0].float(),
            )
            of_this_scale.append([map_.flip(3) for map_ in maps] if mirrored else maps)
        means = [torch.stack(pair).mean(0) for pair in zip(*of_this_scale, strict=True)]
        probability, heatmap, offsets = probability + means[0], heatmap + means[1], offsets + means[2]
        disparity = means[3]
    count = len(scales)
    return NetworkOutput(
        class_logits=(probability / count).clamp(min=torch.finfo(torch.float32).tiny).log(),
        center_heatmap=heatmap / count,
        offsets_px=offsets / count,
        disparities=(disparity,),
    )


def view_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return the multiples of 32, at least 32, nearest to a size times a scale."""
    height, width = (max(1, round(side * scale / SIZE_STEP)) * SIZE_STEP for side in size)
    return height, width
