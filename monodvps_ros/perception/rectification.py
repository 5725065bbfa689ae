# SPDX-License-Identifier: Apache-2.0
"""Removes lens distortion from images on the pipeline's device."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from monodvps_ros.geometry.rectification import Rectification


def sampling_grid(pixels: NDArray[np.float32], device: torch.device) -> Tensor:
    """Turn (H, W, 2) pixels into (1, H, W, 2) for grid_sample: the outer pixels' centres are -1 and 1."""
    height, width = pixels.shape[:2]
    scale = np.array([2.0 / max(width - 1, 1), 2.0 / max(height - 1, 1)], np.float32)
    return torch.from_numpy(pixels * scale - 1.0)[None].to(device)


class DeviceRectification:
    """A rectification on a device: OpenCV on a CPU, torch elsewhere.

    Attributes:
        source: the rectification it was made from.
        seen: (H, W) bool on the device, true where the raw image has the pixel.
    """

    def __init__(self, rectification: Rectification, device: torch.device) -> None:
        self.source = rectification
        self.seen = torch.from_numpy(rectification.seen).to(device)
        self._grid = None if device.type == "cpu" else sampling_grid(rectification.pixels, device)

    def apply(self, image: Tensor) -> Tensor:
        """Rectify an (H, W, 3) uint8 image on the device; as `Rectification.image`, on CUDA to 2 grey levels."""
        if self._grid is None:
            return torch.from_numpy(self.source.image(image.numpy()))
        planes = image.permute(2, 0, 1)[None].float()
        sampled = functional.grid_sample(planes, self._grid, "bilinear", "border", align_corners=True)
        return sampled[0].round_().to(torch.uint8).permute(1, 2, 0)
