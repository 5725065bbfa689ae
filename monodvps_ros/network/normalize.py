# SPDX-License-Identifier: Apache-2.0
"""Normalisation of images, inside the networks so that nobody can forget it or do it twice."""

import torch
from torch import Tensor, nn

#: Mean and deviation of ImageNet's red, green and blue, on which timm's encoders were trained.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalize(nn.Module):
    """Subtract the mean of each colour and divide by its deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Normalise.

        Args:
            image: (B, 3, H, W) in 0..1.

        Returns:
            (B, 3, H, W), about zero mean and unit deviation.
        """
        return (image - self.mean) / self.std
