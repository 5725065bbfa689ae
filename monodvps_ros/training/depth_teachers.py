# SPDX-License-Identifier: Apache-2.0
"""Teachers of depth: measurements, depth models of the Hugging Face hub, and MonoDVPS."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monodvps_ros.errors import ConfigError
from monodvps_ros.foundation.depth import HubDepth
from monodvps_ros.foundation.names import DEPTH_MODELS, resolve
from monodvps_ros.geometry import canonical_factor, disparity_to_inverse_depth, scale_intrinsics
from monodvps_ros.geometry.resizing import as_image_tensor, resize_bilinear, resize_image
from monodvps_ros.network import load_network
from monodvps_ros.training.augmented_views import average_views
from monodvps_ros.training.measuring_teachers import WITHIN_S, MeasuredDepth, intrinsics_of, load_measuring_teacher
from monodvps_ros.training.teachers import is_monodvps_weights, weights_digest
from monodvps_ros.types import Sample

_MEASURING = ", ".join(WITHIN_S)
#: Maximum input height of hub models; the width keeps the aspect ratio.
_HUB_HEIGHT = 518


class DepthTeacher(Protocol):
    """Provides inverse depth.

    Attributes:
        made_with: everything that determines its depth, as JSON types.
        description: for messages.
        is_metric: whether its inverse depth is in 1/m, rather than up to scale and shift.
    """

    made_with: dict[str, Any]
    description: str
    is_metric: bool

    def inverse_depth(self, sample: Sample) -> NDArray[np.float32] | None:
        """Return (H, W) float32 inverse depth of a frame, larger is nearer, NaN where there is none; None for no map.

        Raises:
            DataError: data that it needs of the recording cannot be read, or does not match.
        """
        ...


class NetworkDepthTeacher:
    """MonoDVPS, averaged over the image and its mirror image.

    Args:
        weights: a weights file, ``shipped`` or ``random``.
        device: to run on.

    Raises:
        DeviceError: the device does not exist.
        WeightsError: there is no such file, or it does not fit.
    """

    def __init__(self, weights: str, device: torch.device) -> None:
        self._network, self._device = load_network(weights, device), device
        self.is_metric = self._network.is_metric
        self.description = self._network.description
        self.made_with = {"name": self.description, "sha256": weights_digest(weights)}

    def inverse_depth(self, sample: Sample) -> NDArray[np.float32]:
        """Predict; see `DepthTeacher`. For a network that is not metric: its disparity.

        Raises:
            DataError: the network is metric, and K of the frame is not known.
        """
        disparity = _predict_full_size(self._predict, sample, self._device)
        if not self.is_metric:
            return disparity
        seen = scale_intrinsics(intrinsics_of(sample), sample.frame.size, self._network.input_size)
        inverse = disparity_to_inverse_depth(torch.from_numpy(disparity), *self._network.depth_range_m)
        return np.asarray(inverse / canonical_factor(seen, self._network.canonical_focal_px), np.float32)

    def _predict(self, image: Tensor) -> Tensor:
        return average_views(self._network.infer, image, self._network.input_size, (1.0,), True).disparities[0]


class HubDepthTeacher:
    """A depth model of the hub.

    Args:
        name: on the hub, or a folder.
        device: to run on.

    Raises:
        MissingDependencyError: transformers is not installed.
        WeightsError: the model cannot be loaded.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self._model, self._device = HubDepth(name, device), device
        self.is_metric = self._model.is_metric
        self.description = name
        self.made_with: dict[str, Any] = {"name": name}

    def inverse_depth(self, sample: Sample) -> NDArray[np.float32]:
        """Predict; see `DepthTeacher`."""
        return _predict_full_size(self._predict, sample, self._device)

    def _predict(self, image: Tensor) -> Tensor:
        height = min(_HUB_HEIGHT, image.shape[2])
        width = max(1, round(image.shape[3] * height / image.shape[2]))
        return self._model(resize_image(image, (height, width))).reciprocal()


def load_depth_teacher(spec: str, device: torch.device, measured: MeasuredDepth) -> DepthTeacher:
    """Load a depth teacher.

    Args:
        spec: ``stereo``, ``lidar``, ``topic``; a MonoDVPS weights file, ``shipped``, ``random``; or a depth model
            of the hub by its short name, its name on the hub or a folder.
        device: to run a network on.
        measured: what a measuring teacher reads, and from which recording.

    Raises:
        ConfigError: the spec is none of these, or an option does not apply to it.
        DataError: the recording lacks what the teacher needs.
        MissingDependencyError: transformers is not installed.
        WeightsError: a file or model cannot be loaded.
    """
    if spec in WITHIN_S:
        return load_measuring_teacher(spec, measured)
    if measured.topic or measured.extrinsics or measured.within_s is not None:
        raise ConfigError(f"a topic, a time bound and extrinsics apply to {_MEASURING}, not to '{spec}'")
    if is_monodvps_weights(spec):
        return NetworkDepthTeacher(spec, device)
    try:
        name = resolve(spec, DEPTH_MODELS, "depth")
    except ConfigError as error:
        raise ConfigError(f"{error}; or a weights file, or 'shipped' for the shipped one; or {_MEASURING}") from None
    return HubDepthTeacher(name, device)


@torch.inference_mode()
def _predict_full_size(
    predict: Callable[[Tensor], Tensor], sample: Sample, device: torch.device
) -> NDArray[np.float32]:
    """Predict (1, 1, h, w) for a frame's image (1, 3, H, W) in 0..1, and resize it to the frame, (H, W)."""
    full_size = resize_bilinear(predict(as_image_tensor(sample.frame.rectified().image, device)), sample.frame.size)
    return np.array(full_size[0, 0].float().cpu().numpy(), np.float32)
