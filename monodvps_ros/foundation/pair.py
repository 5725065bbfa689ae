# SPDX-License-Identifier: Apache-2.0
"""A panoptic and a depth model joined to one that the pipeline can run."""

import torch
from torch import Tensor

from monodvps_ros.foundation.depth import HubDepth
from monodvps_ros.foundation.names import parse_pair
from monodvps_ros.foundation.panoptic import HubPanoptic
from monodvps_ros.labels import CITYSCAPES, LabelSpace
from monodvps_ros.types import NetworkOutput


class FoundationModel:
    """Keeps `monodvps_ros.types.PerceptionModel`. It has no flow; the tracker takes OpenCV's DIS flow.

    Args:
        spec: ``PANOPTIC+DEPTH``, see `names.parse_pair`.
        device: where to run both.
        input_size: (H, W) that images are resized to.
        labels: the classes wanted.

    Raises:
        ConfigError: the spec is not a pair of names.
        LabelError: the panoptic model has classes without a counterpart.
        MissingDependencyError: transformers is not installed.
        WeightsError: a model cannot be had.
    """

    def __init__(
        self,
        spec: str,
        device: torch.device | str = "cpu",
        input_size: tuple[int, int] = (512, 1024),
        labels: LabelSpace = CITYSCAPES,
    ) -> None:
        panoptic, depth = parse_pair(spec)
        device = torch.device(device)
        self._panoptic = HubPanoptic(panoptic, labels, device)
        self._depth = HubDepth(depth, device)
        self._input_size = input_size

    @property
    def label_space(self) -> LabelSpace:
        """Classes of the scores."""
        return self._panoptic.labels

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the images wanted."""
        return self._input_size

    @property
    def depth_range_m(self) -> tuple[float, float]:
        """Not used, as the model gives depth and no disparity; the range that is usual for streets."""
        return 0.1, 100.0

    @property
    def is_metric(self) -> bool:
        """Whether depth is in metres without a measured scale."""
        return self._depth.is_metric

    @property
    def canonical_focal_px(self) -> float:
        """0: metric models of the hub give metres whatever the focal length."""
        return 0.0

    @property
    def has_flow(self) -> bool:
        """Never: each image is looked at alone."""
        return False

    @property
    def description(self) -> str:
        """What runs, in words."""
        unit = "metric" if self.is_metric else "up to scale"
        return f"{self._panoptic.name} + {self._depth.name} ({unit} depth)"

    @torch.inference_mode()
    def infer(self, image: Tensor, memory: tuple[Tensor, ...] = ()) -> NetworkOutput:
        """Look at one image, (1, 3, H, W) in 0..1; `memory` is not used."""
        logits, instances = self._panoptic(image)
        return NetworkOutput(logits, instances=instances, depth_m=self._depth(image))
