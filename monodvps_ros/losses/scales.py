# SPDX-License-Identifier: Apache-2.0
"""Maps at other sizes, and losses over several of them."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from monodvps_ros.geometry.resizing import resize_bilinear


def resize_area(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Shrink an image (B, C, H, W) by averaging; one of that size stays as it is."""
    return image if image.shape[2:] == size else functional.interpolate(image, size, mode="area")


def resize_flow(flow_px: Tensor, size: tuple[int, int], image_size: tuple[int, int]) -> Tensor:
    """Resize flow that is in pixels of the whole image, and turn it into pixels of its new size.

    Args:
        flow_px: (B, 2, h, w) in pixels of `image_size`.
        size: height and width wanted.
        image_size: height and width of the image in whose pixels the flow is.
    """
    scale = flow_px.new_tensor([size[1] / image_size[1], size[0] / image_size[0]])
    return resize_bilinear(flow_px, size) * scale[:, None, None]


def mean_over_scales(maps: tuple[Tensor, ...], loss: Callable[[Tensor, tuple[int, int]], Tensor]) -> Tensor:
    """Average a loss over the scales, each halved once more than the next finer one.

    Coarser maps have fewer and larger steps between pixels; the halving is that of Godard et al. 2019.

    Args:
        maps: finest first, each (B, C, h, w).
        loss: of a map and its size.
    """
    values = [loss(map_, (map_.shape[2], map_.shape[3])) / 2**place for place, map_ in enumerate(maps)]
    return torch.stack(values).mean()
