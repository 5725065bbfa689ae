# SPDX-License-Identifier: Apache-2.0
"""Optical flow for models that have none of their own: OpenCV's DIS flow (Kroeger et al. 2016)."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monodvps_ros.perception.device import to_device


def to_gray(image: Tensor) -> NDArray[np.uint8]:
    """Return (h, w) uint8, on the CPU, of an image (1, 3, h, w) in 0..255."""
    rgb = image[0] if image.dtype == torch.uint8 else image[0].round().to(torch.uint8)
    return np.asarray(cv2.cvtColor(rgb.permute(1, 2, 0).contiguous().cpu().numpy(), cv2.COLOR_RGB2GRAY), np.uint8)


class DisFlow:
    """Flow from each frame to the one before, on the CPU."""

    def __init__(self) -> None:
        self._method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self.reset()

    def reset(self) -> None:
        """Forget the previous frame."""
        self._previous: NDArray[np.uint8] | None = None
        self._before_previous: NDArray[np.uint8] | None = None

    def undo(self) -> None:
        """Forget the last frame, and go on from the one before."""
        self._previous = self._before_previous

    def step(self, image: Tensor) -> Tensor | None:
        """Take the next frame, (1, 3, h, w) in 0..255.

        Returns:
            (2, h, w) float32 (dx, dy) from this frame to the previous one, pixels, on the image's device; None for the
            first frame, or where the size changed.
        """
        gray = to_gray(image)
        previous = self._before_previous = self._previous
        self._previous = gray
        if previous is None or previous.shape != gray.shape:
            return None
        flow = self._method.calc(gray, previous, np.zeros((*gray.shape, 2), np.float32))
        return to_device(flow, image.device).permute(2, 0, 1)
