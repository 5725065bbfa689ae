# SPDX-License-Identifier: Apache-2.0
"""Who guesses the depth of frames: a depth model of the Hugging Face hub, or our own network."""

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monodvps_ros.errors import ConfigError
from monodvps_ros.foundation.depth import HubDepth
from monodvps_ros.foundation.names import DEPTH_MODELS, resolve
from monodvps_ros.perception.grouping import upsample
from monodvps_ros.training.augmented_views import average_views, resize_image
from monodvps_ros.training.teachers import SHIPPED, is_own_weights, load_own, weights_digest
from monodvps_ros.types import as_image_tensor

#: Rows of the image that models of the hub are shown; columns keep its shape.
_HUB_HEIGHT = 518


class DepthTeacher(Protocol):
    """Guesses inverse depth up to scale and shift.

    Attributes:
        made_with: what must be the same for its guesses to be the same, of JSON's types.
        description: what it is, in words.
    """

    made_with: dict[str, Any]
    description: str

    def guess(self, image: Tensor) -> Tensor:
        """Return (1, 1, h, w) inverse depth, larger is nearer, of an image (1, 3, H, W) in 0..1."""
        ...


class NetworkDepthTeacher:
    """Our own network; it looks at its input size, and mirrored.

    Args:
        weights: a weights file, ``shipped`` or ``random``.
        device: where to run it.

    Raises:
        DeviceError: the device is not there.
        WeightsError: there is no such file, or it does not fit.
    """

    def __init__(self, weights: str, device: torch.device) -> None:
        self._network = load_own(weights, device)
        self.description = self._network.description
        self.made_with = {"name": self.description, "sha256": weights_digest(weights)}

    def guess(self, image: Tensor) -> Tensor:
        """Guess; see `DepthTeacher`. Disparity is inverse depth up to scale and shift."""
        return average_views(self._network.infer, image, self._network.input_size, (1.0,), True).disparities[0]


class HubDepthTeacher:
    """A depth model of the hub, which looks once.

    Args:
        name: on the hub, or a folder.
        device: where to run it.

    Raises:
        MissingDependencyError: transformers is not installed.
        WeightsError: the model cannot be had.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self._model = HubDepth(name, device)
        self.description = name
        self.made_with: dict[str, Any] = {"name": name}

    def guess(self, image: Tensor) -> Tensor:
        """Guess; see `DepthTeacher`."""
        height = min(_HUB_HEIGHT, image.shape[2])
        width = max(1, round(image.shape[3] * height / image.shape[2]))
        return self._model(resize_image(image, (height, width))).reciprocal()


def load_depth_teacher(spec: str, device: torch.device) -> DepthTeacher:
    """Load a depth teacher.

    Args:
        spec: a weights file of our own network, ``shipped``, ``random``; or a depth model of the hub by its short name,
            its name there or a folder.
        device: where to run it.

    Raises:
        ConfigError: the spec is none of these.
        MissingDependencyError: transformers is not installed.
        WeightsError: a file or model cannot be had.
    """
    if is_own_weights(spec):
        return NetworkDepthTeacher(spec, device)
    try:
        name = resolve(spec, DEPTH_MODELS, "depth")
    except ConfigError as error:
        raise ConfigError(f"{error}; or a weights file, '{SHIPPED}' for the one that ships") from None
    return HubDepthTeacher(name, device)


@torch.inference_mode()
def guess_inverse_depth(teacher: DepthTeacher, image: NDArray[np.uint8], device: torch.device) -> NDArray[np.float32]:
    """Guess the inverse depth of an image (H, W, 3) uint8; (H, W) float32, up to scale and shift."""
    guessed = upsample(teacher.guess(as_image_tensor(image, device)), (image.shape[0], image.shape[1]))
    return np.array(guessed[0, 0].float().cpu().numpy(), np.float32)
