# SPDX-License-Identifier: Apache-2.0
"""What a training step is given."""

from dataclasses import dataclass

from torch import Tensor

from monodvps_ros.losses import TrainingBatch
from monodvps_ros.shapes import check_shapes


@dataclass(frozen=True, eq=False, slots=True)
class StepBatch:
    """Samples as they are, for the losses, and as the networks are shown them.

    The losses compare the camera's own colours; the networks see changed ones, alike in all frames of a sample, so that
    they do not learn to rely on them (Godard et al. 2019).

    Attributes:
        truth: images and what is known of them.
        shown: (B, 3, H, W) in 0..1, the target frames with changed colours.
        shown_sources: the adjacent frames likewise, in the order of `truth.sources`.

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
