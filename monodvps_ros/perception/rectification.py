# SPDX-License-Identifier: Apache-2.0
"""Takes lens distortion out of images, on the device that everything else runs on."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from monodvps_ros.shapes import check_shapes


def sampling_grid(pixels: NDArray[np.float32], device: torch.device) -> Tensor:
    """Turn (H, W, 2) pixels into (1, H, W, 2) for grid_sample: the outer pixels' centres are -1 and 1."""
    height, width = pixels.shape[:2]
    scale = np.array([2.0 / max(width - 1, 1), 2.0 / max(height - 1, 1)], np.float32)
    return torch.from_numpy(pixels * scale - 1.0)[None].to(device)


class Rectification:
    """What is made once of a rectifying map.

    Args:
        pixels: (H, W, 2) float32 (u, v), where each pixel of the rectified image lies in the raw one.
        device: where images are rectified.

    Attributes:
        pixels: the map it was made from.
        seen: (H, W) bool on the device, true where the raw image has the pixel.

    Raises:
        ShapeError: the map has another shape.
    """

    def __init__(self, pixels: NDArray[np.float32], device: torch.device) -> None:
        sizes = check_shapes(pixels=(pixels, "H W 2"))
        height, width = sizes["H"], sizes["W"]
        self.pixels = pixels
        u, v = pixels[..., 0], pixels[..., 1]
        inside = (u > -0.5) & (u < width - 0.5) & (v > -0.5) & (v < height - 0.5)
        self.seen = torch.from_numpy(inside).to(device)
        self._is_cpu = device.type == "cpu"
        if self._is_cpu:
            self._maps = cv2.convertMaps(u, v, cv2.CV_16SC2)
        else:
            self._grid = sampling_grid(pixels, device)

    def apply(self, image: Tensor) -> Tensor:
        """Rectify an image.

        Args:
            image: (H, W, 3) uint8 on the device.

        Returns:
            (H, W, 3) uint8, bilinear; the nearest edge's colour where the raw image saw nothing (see `seen`).
        """
        if self._is_cpu:
            moved = cv2.remap(image.numpy(), *self._maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            return torch.from_numpy(moved)
        planes = image.permute(2, 0, 1)[None].float()
        sampled = functional.grid_sample(planes, self._grid, "bilinear", "border", align_corners=True)
        return sampled[0].round_().to(torch.uint8).permute(1, 2, 0)
