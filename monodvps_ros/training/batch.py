# SPDX-License-Identifier: Apache-2.0
"""Input of a training step."""

from dataclasses import dataclass

from torch import Tensor

from monodvps_ros.losses import TrainingBatch
from monodvps_ros.shapes import check_shapes


@dataclass(frozen=True, eq=False, slots=True)
class StepBatch:
    """Samples for the losses, and the colour-jittered images for the networks.

    The losses compare the original colours; the networks get jittered ones, the same for all frames of a sample, so
    that they do not rely on them (Godard et al. 2019).

    Attributes:
        truth: images and ground truth.
        shown: (B, 3, H, W) in 0..1, the target frames, jittered.
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
