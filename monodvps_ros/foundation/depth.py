# SPDX-License-Identifier: Apache-2.0
"""Depth models of the Hugging Face hub: metric ones, and those that give inverse depth up to scale."""

import torch
from torch import Tensor

from monodvps_ros.foundation.hub import HubModel
from monodvps_ros.geometry.resizing import resize_image

#: Inverse depth below this share of an image's greatest is taken for it: relative models give 0 far away.
LEAST_INVERSE = 1e-3


class HubDepth:
    """A depth model of the hub, or of a folder.

    Attributes:
        is_metric: false where its depth is up to scale, so that the camera's height or a fixed factor must give metres.

    Raises:
        MissingDependencyError: transformers is not installed.
        WeightsError: the model cannot be had.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.name = name
        self._hub = HubModel(name, "AutoModelForDepthEstimation", device)
        config = self._hub.config
        self.is_metric = getattr(config, "depth_estimation_type", "metric") == "metric"
        self._multiple = int(getattr(config, "patch_size", None) or 32)

    def __call__(self, image: Tensor) -> Tensor:
        """Estimate depth of an image, (1, 3, H, W) in 0..1.

        Returns:
            (1, 1, h, w) float32, metres, or a unit of the image's own where the model is not metric; above 0.
        """
        height, width = (max(1, round(side / self._multiple)) * self._multiple for side in image.shape[2:])
        resized = resize_image(image, (height, width))
        predicted: Tensor = self._hub.model(pixel_values=self._hub.normalise(resized)).predicted_depth
        values = predicted.float()[:, None]
        if self.is_metric:
            return values.clamp(min=1e-3)
        return (values / values.amax().clamp(min=1e-6)).clamp(min=LEAST_INVERSE).reciprocal()
