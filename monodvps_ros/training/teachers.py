# SPDX-License-Identifier: Apache-2.0
"""Teachers of classes and instances: MonoDVPS with test-time augmentation, or a panoptic model of the hub."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monodvps_ros.config import PseudoLabelConfig
from monodvps_ros.data.manifest import file_digest
from monodvps_ros.errors import ConfigError, counted
from monodvps_ros.foundation.names import PANOPTIC_MODELS, resolve
from monodvps_ros.foundation.panoptic import HubPanoptic
from monodvps_ros.geometry.resizing import as_image_tensor, resize_image, resize_nearest_array
from monodvps_ros.labels import CITYSCAPES, VOID_PANOPTIC_ID, LabelSpace
from monodvps_ros.network import is_shipped, load_network, weights_file
from monodvps_ros.perception.grouping import classify, group, panoptic_without_tracks
from monodvps_ros.training.augmented_views import SIZE_STEP, average_views, view_size
from monodvps_ros.types import NetworkOutput

_RANDOM = "random"
_WEIGHTS_SUFFIX = ".safetensors"
#: Default input height of hub models; the width keeps the aspect ratio.
_HUB_HEIGHT = 512


class Teacher(Protocol):
    """Predicts classes and instances of an image.

    Attributes:
        labels: its classes.
        made_with: everything that determines its labels, as JSON types.
        description: for messages.
    """

    labels: LabelSpace
    made_with: dict[str, Any]
    description: str

    def predict(self, image: Tensor) -> NetworkOutput:
        """Predict for an image (1, 3, H, W) in 0..1 of any size; all maps of the output have one size (h, w)."""
        ...


class NetworkTeacher:
    """MonoDVPS with test-time augmentation.

    Args:
        weights: a weights file, ``shipped`` or ``random``.
        config: scales, flips, input size.
        device: to run on.

    Raises:
        ConfigError: the input size is not in multiples of 32.
        DeviceError: the device does not exist.
        WeightsError: there is no such file, or it does not fit.
    """

    def __init__(self, weights: str, config: PseudoLabelConfig, device: torch.device) -> None:
        self._network = load_network(weights, device)
        self._config = config
        self._size = (config.input_height, config.input_width) if config.input_height else self._network.input_size
        if self._size[0] % SIZE_STEP or self._size[1] % SIZE_STEP:
            raise ConfigError(
                f"the input size is {self._size[0]}x{self._size[1]}; both must be multiples of {SIZE_STEP}"
            )
        self.labels = self._network.label_space
        views = len(config.scales) * (2 if config.flips else 1)
        self.description = (
            f"{self._network.description}, {counted(views, 'view')} of {self._size[0]}x{self._size[1]} times "
            + (", ".join(f"{scale:g}" for scale in config.scales))
        )
        self.made_with = {
            "teacher": self._network.description,
            "teacher_sha256": weights_digest(weights),
            "size": list(self._size),
            "scales": list(config.scales),
            "flips": config.flips,
        }

    def predict(self, image: Tensor) -> NetworkOutput:
        """Average over all views; see `Teacher`."""
        half = image.device.type == "cuda"
        with torch.autocast(image.device.type, torch.float16, enabled=half):
            return average_views(self._network.infer, image, self._size, self._config.scales, self._config.flips)


class HubTeacher:
    """A panoptic model of the hub, with a single view: its instances are queries and cannot be averaged.

    Args:
        name: on the hub, or a folder.
        config: input size.
        device: to run on.

    Raises:
        LabelError: the model has classes without a counterpart in the label space.
        MissingDependencyError: transformers is not installed.
        WeightsError: the model cannot be loaded.
    """

    def __init__(self, name: str, config: PseudoLabelConfig, device: torch.device) -> None:
        self._model = HubPanoptic(name, CITYSCAPES, device)
        self._size = (config.input_height, config.input_width) if config.input_height else None
        self.labels = self._model.labels
        self.description = f"{name}, one view" + (f" of {self._size[0]}x{self._size[1]}" if self._size else "")
        self.made_with = {"teacher": name, "size": None if self._size is None else list(self._size)}

    def predict(self, image: Tensor) -> NetworkOutput:
        """Predict from one view; see `Teacher`."""
        size = self._size or view_size((_HUB_HEIGHT, round(image.shape[3] * _HUB_HEIGHT / image.shape[2])), 1.0)
        logits, instances = self._model(resize_image(image, size))
        return NetworkOutput(logits, instances=instances, depth_m=torch.ones_like(logits[:, :1]))


def load_teacher(spec: str, config: PseudoLabelConfig, device: torch.device) -> Teacher:
    """Load a teacher.

    Args:
        spec: a MonoDVPS weights file, ``shipped``, ``random``; or a panoptic model of the hub by its short name, its
            name on the hub or a folder.
        config: views and input size.
        device: to run on.

    Raises:
        ConfigError: the spec is none of these.
        LabelError: as for `HubTeacher`.
        MissingDependencyError: as for `HubTeacher`.
        WeightsError: a file or model cannot be loaded.
    """
    if is_monodvps_weights(spec):
        return NetworkTeacher(spec, config, device)
    try:
        name = resolve(spec, PANOPTIC_MODELS, "panoptic")
    except ConfigError as error:
        raise ConfigError(f"{error}; or a weights file, or 'shipped' for the shipped one") from None
    return HubTeacher(name, config, device)


def weights_digest(weights: str) -> str | None:
    """Return the SHA-256 of a weights file; None for untrained weights."""
    return None if weights == _RANDOM else file_digest(weights_file(weights))


def is_monodvps_weights(spec: str) -> bool:
    """Return whether a spec names MonoDVPS weights rather than a model of the hub."""
    return spec == _RANDOM or is_shipped(spec) or Path(spec).is_file() or spec.endswith(_WEIGHTS_SUFFIX)


@torch.inference_mode()
def label_image(
    teacher: Teacher, image: NDArray[np.uint8], config: PseudoLabelConfig, device: torch.device
) -> NDArray[np.uint16]:
    """Label an image: classes and instances as in the live pipeline, without tracking.

    Args:
        teacher: predicts classes and instances.
        image: (H, W, 3) uint8.
        config: thresholds.
        device: of the teacher.

    Returns:
        (H, W) uint16 panoptic ids; 65535, void, where the class probability is below `config.confidence`, on things
        without a centre, and on stuff that is too small.
    """
    output = teacher.predict(as_image_tensor(image, device))
    size = (output.class_logits.shape[2], output.class_logits.shape[3])
    semantic, probability = classify(output, size, with_probability=True)
    assert probability is not None
    ids = panoptic_without_tracks(group(output, semantic, teacher.labels, config.grouping))
    ids = ids.masked_fill(probability < config.confidence, VOID_PANOPTIC_ID)
    return resize_nearest_array(ids.cpu().numpy().astype(np.uint16), (image.shape[0], image.shape[1]))
