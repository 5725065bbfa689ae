# SPDX-License-Identifier: Apache-2.0
"""Training samples from stored frames: neighbours, augmentation, targets, and batches of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from monodvps_ros.config import TrainingConfig
from monodvps_ros.data.targets import panoptic_targets
from monodvps_ros.data.transforms import apply_color_jitter, apply_geometry, draw_color_jitter, draw_geometry
from monodvps_ros.errors import DataError
from monodvps_ros.geometry import scale_length
from monodvps_ros.labels import VOID_PANOPTIC_ID
from monodvps_ros.losses import Need, Objective, TrainingBatch
from monodvps_ros.process_memory import keep_freed_memory
from monodvps_ros.training.batch import StepBatch
from monodvps_ros.training.batch_memory import BatchMemory, Placed, received
from monodvps_ros.training.frames import FrameEntry, FrameStore
from monodvps_ros.types import Sample

#: Offsets of the adjacent frames, in the order of `TrainingBatch.sources`.
NEIGHBOURS = (-1, 1)
_TARGETS = ("centers", "center_weights", "offsets_px", "offset_weights")
#: Of this process of the loader.
_MEMORY = BatchMemory()
_FLAGS = tuple(need for need in Need if need is not Need.NOTHING)


@dataclass(frozen=True)
class Draw:
    """Index of a sample and seed of its augmentation, which determine the sample completely."""

    target: int
    seed: int


class TrainingDataset(Dataset[dict[str, Any]]):
    """One sample for each stored frame that an active term of the objective can use.

    Attributes:
        targets: indices in the store of the frames that are samples.
        without_motion: number of samples without both neighbours or K, which photometric terms skip.

    Args:
        store: the frames.
        config: augmentation and targets.
        objective: determines the active terms.

    Raises:
        DataError: no frame can be used by any term.
    """

    def __init__(self, store: FrameStore, config: TrainingConfig, objective: Objective) -> None:
        self.store = store
        self.config = config
        needs = {term.need for term in objective.active}
        metric = objective.canonical_focal_px > 0
        self._moves = Need.MOTION in needs  # otherwise neighbours are not read
        self._reads = objective.reads  # other maps are not computed
        self._size = (config.network.input_height, config.network.input_width)
        self._given = [needs_met(store.entries, number, config.max_gap_s, metric) for number in range(len(store))]
        self.targets = [number for number, given in enumerate(self._given) if given & needs]
        if not self.targets:
            raise DataError(
                f"none of the {len(store)} frames can be used: there are no three consecutive ones with a known camera "
                f"(loss.photometric, loss.flow) and no labels (most other losses); active terms: "
                f"{sorted(objective.active_terms)}"
            )
        self.without_motion = sum(Need.MOTION not in self._given[number] for number in self.targets)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.targets)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        """Return a sample: tensors without batch axis, named as in `TrainingBatch`, and the jittered images.

        Images are (n, H, W, 3) uint8, target first: a quarter of the bytes that go from process to process.
        """
        generator = np.random.default_rng(draw.seed)
        augmentation, size = self.config.augmentation, self._size
        scales = (augmentation.min_scale, augmentation.max_scale)
        geometry = draw_geometry(size, generator, scales, augmentation.flip, augmentation.max_stretch)
        jitter = draw_color_jitter(
            generator, augmentation.color, augmentation.color_reach, augmentation.hue_reach, augmentation.gray
        )
        number = self.targets[draw.target]
        given = self._given[number]
        has_motion = Need.MOTION in given
        places = [number + step if has_motion else number for step in NEIGHBOURS] if self._moves else []
        target = apply_geometry(self.store.sample(number), geometry)
        sources = [apply_geometry(self.store.sample(place, with_truth=False), geometry) for place in places]
        images = [frame.frame.image for frame in (target, *sources)]
        return {
            "images": torch.from_numpy(np.stack(images)),
            "shown": torch.from_numpy(np.stack([apply_color_jitter(image, jitter) for image in images])),
            "intrinsics": _intrinsics(target),
            **{need.value: need in given for need in _FLAGS},
            "name": target.source,
            **self._labels(target),
        }

    def _labels(self, target: Sample) -> dict[str, Any]:
        truth = target.truth
        panoptic = truth.panoptic if truth.panoptic is not None else np.full(self._size, VOID_PANOPTIC_ID, np.uint16)
        sample = {"panoptic": torch.from_numpy(panoptic.astype(np.int32)), "pseudo": truth.panoptic_is_pseudo}
        if self._reads & {"centers", "offsets_px"}:
            sigma_px = scale_length(self.config.center_sigma_px, self._size)
            targets = panoptic_targets(panoptic, self.store.labels, sigma_px)
            sample |= {name: torch.from_numpy(getattr(targets, name)) for name in _TARGETS}
        for name in self._reads & {"depth_m", "inverse_depth"}:
            known = getattr(truth, name)
            values = known if known is not None else np.full(self._size, np.nan, np.float32)
            sample[name] = torch.from_numpy(values)[None]
        return sample


def needs_met(entries: Sequence[FrameEntry], number: int, max_gap_s: float, metric: bool) -> set[Need]:
    """Return what a stored frame has of what terms need.

    Args:
        entries: all stored frames.
        number: index of the frame.
        max_gap_s: maximum time between neighbours.
        metric: measured depth needs K.
    """
    entry = entries[number]
    known = entry.intrinsics is not None
    has_motion = known and all(_adjacent(entries, place, max_gap_s) for place in (number, number + 1))
    having = {
        Need.MOTION: has_motion,
        Need.LABELS: entry.labelled,
        Need.MEASURED_DEPTH: entry.has_depth and (known or not metric),
        Need.TEACHER_DEPTH: entry.has_inverse_depth,
    }
    return {need for need, has in having.items() if has}


def _adjacent(entries: Sequence[FrameEntry], number: int, max_gap_s: float) -> bool:
    """Return whether a frame follows the previous one within the maximum gap."""
    if number >= len(entries) or not entries[number].follows_previous:
        return False
    return 0 < entries[number].stamp_ns - entries[number - 1].stamp_ns <= 1e9 * max_gap_s


def collate(samples: list[dict[str, Any]]) -> "StepBatch | SharedBatch":
    """Collate samples into a batch, whose images are uint8 until `TrainingModule.losses` has them on its device.

    A process of the loader does it at once in the memory from which training reads the batch.
    """
    values = {name: [sample[name] for sample in samples] for name in samples[0]}
    tensors = {name: values.pop(name) for name, value in samples[0].items() if isinstance(value, Tensor)}
    if get_worker_info() is not None:
        return SharedBatch(*_MEMORY.stack(tensors), values)
    return _batch({name: torch.stack(parts) for name, parts in tensors.items()}, values)


@dataclass(frozen=True)
class SharedBatch:
    """A batch on its way from a process of the loader; it arrives as a `StepBatch`.

    Attributes:
        block: shared memory.
        places: of its tensors, by their names in a sample.
        values: all else, one for each sample.
    """

    block: Tensor
    places: dict[str, Placed]
    values: dict[str, list[Any]]

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how the receiving process makes a batch of it."""
        return _receive, (self.block, self.places, self.values)


def _receive(block: Tensor, places: dict[str, Placed], values: dict[str, list[Any]]) -> StepBatch:
    return _batch(received(block, places), values)


def _batch(tensors: dict[str, Tensor], values: dict[str, list[Any]]) -> StepBatch:
    images, shown = (tensors.pop(name).permute(0, 1, 4, 2, 3) for name in ("images", "shown"))
    names = tuple(values.pop("name"))
    flags = {name: torch.tensor(flags) for name, flags in values.items()}
    truth = TrainingBatch(images[:, 0], sources=tuple(images[:, 1:].unbind(1)), names=names, **tensors, **flags)
    return StepBatch(truth, shown[:, 0], tuple(shown[:, 1:].unbind(1)))


def prepare_worker(_: int) -> None:
    """Prepare a process of the loader: one thread, and freed memory is kept for the next sample."""
    cv2.setNumThreads(1)
    keep_freed_memory()


def _intrinsics(sample: Sample) -> Tensor:
    matrix = sample.frame.intrinsics
    return torch.eye(3) if matrix is None else torch.from_numpy(matrix).float()
