# SPDX-License-Identifier: Apache-2.0
"""Input of a training step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from monodvps_ros.losses import TrainingBatch
from monodvps_ros.losses.batch import map_tensors
from monodvps_ros.shapes import check_shapes


@dataclass(frozen=True, eq=False, slots=True)
class StepBatch:
    """Samples for the losses, and the colour-jittered images for the networks.

    The losses compare the original colours; the networks get jittered ones, the same for all frames of a sample, so
    that they do not rely on them (Godard et al. 2019).

    Attributes:
        truth: images and ground truth.
        shown: (B, 3, H, W) in 0..1, the target frames, jittered; uint8 in 0..255, as all images of the batch, until
            `with_float_images`.
        shown_sources: the adjacent frames, jittered, in the order of `truth.sources`.

    Raises:
        ShapeError: sizes differ from those of `truth`.
    """

    truth: TrainingBatch
    shown: Tensor
    shown_sources: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        """Check shapes."""
        check_shapes(
            "",
            **{"truth.image": (self.truth.image, "B 3 H W"), "shown": (self.shown, "B 3 H W")},
            **{f"shown_sources[{place}]": (image, "B 3 H W") for place, image in enumerate(self.shown_sources)},
        )

    def pin_memory(self) -> "StepBatch":
        """Copy to page-locked memory, from which a GPU takes it while it computes."""
        return map_tensors(self, Tensor.pin_memory)


def with_float_images(batch: StepBatch) -> StepBatch:
    """Turn uint8 images into float32 in 0..1; all else stays."""
    return map_tensors(batch, lambda tensor: tensor.float() / 255.0 if tensor.dtype == torch.uint8 else tensor)
