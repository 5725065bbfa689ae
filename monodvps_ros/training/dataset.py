# SPDX-License-Identifier: Apache-2.0
"""Training samples from stored frames: neighbours, augmentation, targets, and batches of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from monodvps_ros.config import TrainingConfig
from monodvps_ros.data.targets import panoptic_targets
from monodvps_ros.data.transforms import apply_color_jitter, apply_geometry, draw_color_jitter, draw_geometry
from monodvps_ros.errors import DataError
from monodvps_ros.labels import VOID_PANOPTIC_ID
from monodvps_ros.losses import Objective, TrainingBatch
from monodvps_ros.training.batch import StepBatch
from monodvps_ros.training.frames import FrameStore
from monodvps_ros.types import Sample

#: Places of the adjacent frames beside the target, in the order of `TrainingBatch.sources`.
NEIGHBOURS = (-1, 1)


@dataclass(frozen=True)
class Draw:
    """Which sample to make, and the seed of its augmentation: the same draw gives the same sample anywhere."""

    target: int
    seed: int


class TrainingDataset(Dataset[dict[str, Any]]):
    """One sample for each stored frame from which an active term of the objective can learn.

    Attributes:
        targets: places in the store of the frames that are samples.
        alone: number of samples without both neighbours or without K, which photometric terms leave out.
    """

    def __init__(self, store: FrameStore, config: TrainingConfig, objective: Objective) -> None:
        """Choose the frames.

        Args:
            store: the frames.
            config: augmentation and targets.
            objective: tells which terms are on.

        Raises:
            DataError: no frame serves any term.
        """
        self.store = store
        self.config = config
        terms = set(objective.active_terms)
        self._whole = [self._is_whole(number) for number in range(len(store))]
        motion = bool(terms & {"photometric", "flow"})
        labels = bool(terms - {"photometric", "flow", "smoothness", "supervised_depth", "pseudo_depth"})
        self.targets = [
            number
            for number, entry in enumerate(store.entries)
            if (motion and self._whole[number])
            or (labels and entry.labelled)
            or ("supervised_depth" in terms and entry.measured)
            or ("pseudo_depth" in terms and entry.guessed)
        ]
        if not self.targets:
            raise DataError(
                f"none of the {len(store)} frames can be learnt from: there are no three in a row with a known camera "
                f"(loss.photometric, loss.flow) and no labels (most other losses); terms that are on: {sorted(terms)}"
            )
        self.alone = sum(not self._whole[number] for number in self.targets)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.targets)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        """Make a sample: tensors without the batch axis, by the names of `TrainingBatch`, and the shown images."""
        generator = np.random.default_rng(draw.seed)
        augmentation, size = self.config.augmentation, self.store.size
        geometry = draw_geometry(size, generator, (augmentation.min_scale, augmentation.max_scale), augmentation.flip)
        jitter = draw_color_jitter(generator, augmentation.color)
        number = self.targets[draw.target]
        whole = self._whole[number]
        places = [number + step if whole else number for step in NEIGHBOURS]
        target, *sources = (apply_geometry(self.store.sample(place), geometry) for place in (number, *places))
        images = [frame.frame.image for frame in (target, *sources)]
        return {
            "images": torch.stack([_image(image) for image in images]),
            "shown": torch.stack([_image(apply_color_jitter(image, jitter)) for image in images]),
            "intrinsics": _intrinsics(target),
            "has_sources": whole,
            "name": target.source,
            **self._labels(target),
        }

    def _labels(self, target: Sample) -> dict[str, Any]:
        truth = target.truth
        labelled = truth.panoptic is not None
        panoptic = (
            truth.panoptic if truth.panoptic is not None else np.full(self.store.size, VOID_PANOPTIC_ID, np.uint16)
        )
        targets = panoptic_targets(panoptic, self.store.labels, self.config.center_sigma_px)
        unknown = np.full(self.store.size, np.nan, np.float32)
        depth = truth.depth_m if truth.depth_m is not None else unknown
        inverse_depth = truth.inverse_depth if truth.inverse_depth is not None else unknown
        return {
            "panoptic": torch.from_numpy(panoptic.astype(np.int32)),
            "labelled": labelled,
            "pseudo": truth.panoptic_is_pseudo,
            "centers": torch.from_numpy(targets.centers),
            "center_weights": torch.from_numpy(targets.center_weights),
            "offsets_px": torch.from_numpy(targets.offsets_px),
            "offset_weights": torch.from_numpy(targets.offset_weights),
            "depth_m": torch.from_numpy(depth)[None],
            "inverse_depth": torch.from_numpy(inverse_depth)[None],
        }

    def _is_whole(self, number: int) -> bool:
        entries = self.store.entries
        if number + 1 >= len(entries) or entries[number].intrinsics is None:
            return False
        return entries[number].follows_previous and entries[number + 1].follows_previous


def collate(samples: list[dict[str, Any]]) -> StepBatch:
    """Join samples to a batch."""

    def stack(name: str) -> Tensor:
        return torch.stack([sample[name] for sample in samples])

    images, shown = stack("images"), stack("shown")
    labels = ("panoptic", "centers", "center_weights", "offsets_px", "offset_weights", "depth_m", "inverse_depth",
              "intrinsics")  # fmt: skip
    truth = TrainingBatch(
        image=images[:, 0],
        sources=tuple(images[:, 1 + place] for place in range(len(NEIGHBOURS))),
        has_sources=torch.tensor([sample["has_sources"] for sample in samples]),
        labelled=torch.tensor([sample["labelled"] for sample in samples]),
        pseudo=torch.tensor([sample["pseudo"] for sample in samples]),
        names=tuple(sample["name"] for sample in samples),
        **{name: stack(name) for name in labels},
    )
    return StepBatch(truth, shown[:, 0], tuple(shown[:, 1 + place] for place in range(len(NEIGHBOURS))))


def _image(image: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1).float() / 255.0


def _intrinsics(sample: Sample) -> Tensor:
    matrix = sample.frame.intrinsics
    return torch.eye(3) if matrix is None else torch.from_numpy(matrix).float()
