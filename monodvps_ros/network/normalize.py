# SPDX-License-Identifier: Apache-2.0
"""Normalisation of images, inside the networks so that nobody can forget it or do it twice."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

#: Mean and deviation of ImageNet's red, green and blue; of weights files that do not say theirs.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalize(nn.Module):
    """Subtract the mean of each colour and divide by its deviation.

    Both are buffers: a checkpoint holds them, and weights that training starts from bring theirs along.

    Args:
        encoder: timm model whose data configuration gives mean and standard deviation; ImageNet's where there is none.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: str = "") -> None:
        super().__init__()
        import timm  # noqa: PLC0415 (takes a second)

        known = timm.get_pretrained_cfg(encoder) if encoder and timm.is_model(encoder) else None
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if known is None else (known.mean, known.std)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def set(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take another mean and deviation of red, green and blue in 0..1."""
        self.mean.copy_(torch.tensor(mean).view(1, 3, 1, 1))
        self.std.copy_(torch.tensor(std).view(1, 3, 1, 1))

    @property
    def values(self) -> dict[str, list[float]]:
        """``mean`` and ``std`` as plain numbers, rounded to what float32 holds."""
        return {
            name: [round(value, 7) for value in buffer.flatten().tolist()]
            for name, buffer in (("mean", self.mean), ("std", self.std))
        }

    def forward(self, image: Tensor) -> Tensor:
        """Normalise (B, 3, H, W) in 0..1 to about zero mean and unit deviation."""
        return (image - self.mean) / self.std
