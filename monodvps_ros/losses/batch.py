# SPDX-License-Identifier: Apache-2.0
"""What the objective compares: a batch of training samples, and what the networks said of it."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from monodvps_ros.config import LossConfig
from monodvps_ros.geometry import canonical_factor, disparity_to_depth
from monodvps_ros.losses.panoptic_map import panoptic_with_channel
from monodvps_ros.shapes import check_shapes
from monodvps_ros.types import NetworkOutput

T = TypeVar("T")


@dataclass(frozen=True, eq=False, slots=True)
class TrainingBatch:
    """Samples of one size and what is known of them; what no term of the objective asks for may be None or empty.

    Flags may stay on the CPU when all else is on another device; then nothing waits for that device.

    Attributes:
        image: (B, 3, H, W) in 0..1, the target frames t as the camera saw them (not the colour-jittered ones that the
            network is shown).
        intrinsics: (B, 3, 3) K in pixels of these images; needed with sources.
        sources: adjacent frames, each (B, 3, H, W) in 0..1: frame t - 1 first, then t + 1 (or t - 1 alone).
        has_sources: (B,) bool, false where a sample has no adjacent frames, whose images are then not looked at;
            None where all have.
        panoptic: (B, H, W) or (B, 1, H, W) panoptic ids, integer, void 65535.
        labelled: (B,) bool, false where a sample has no panoptic label; None where all have.
        pseudo: (B,) bool, true where the panoptic label is a pseudo-label; None where none is.
        centers: (B, 1, H, W) heatmap, 1 at centres of instances.
        center_weights: (B, 1, H, W) bool or not negative, 0 on void.
        offsets_px: (B, 2, H, W) (dy, dx) from a pixel to its instance's centre.
        offset_weights: (B, 1, H, W) bool or not negative, 0 outside of instances.
        semantic_weights: (B, H, W) weight of each pixel's class loss; None for `small_instance_weights` of `panoptic`.
        depth_m: (B, 1, H, W) measured depth, not finite or 0 where there is none.
        has_depth: (B,) bool, false where a sample has no measured depth; None where all have.
        inverse_depth: (B, 1, H, W) a teacher's inverse depth up to scale and shift, not finite where there is none.
        has_inverse_depth: (B,) bool, false where a sample has no teacher's inverse depth; None where all have.
        names: of the samples, for error messages; empty for their numbers.

    Raises:
        ShapeError: arguments disagree on a size; the message names both.
    """

    image: Tensor
    intrinsics: Tensor | None = None
    sources: tuple[Tensor, ...] = ()
    has_sources: Tensor | None = None
    panoptic: Tensor | None = None
    labelled: Tensor | None = None
    pseudo: Tensor | None = None
    centers: Tensor | None = None
    center_weights: Tensor | None = None
    offsets_px: Tensor | None = None
    offset_weights: Tensor | None = None
    semantic_weights: Tensor | None = None
    depth_m: Tensor | None = None
    has_depth: Tensor | None = None
    inverse_depth: Tensor | None = None
    has_inverse_depth: Tensor | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check shapes."""
        panoptic = None if self.panoptic is None else panoptic_with_channel(self.panoptic)
        check_shapes(
            "",
            image=(self.image, "B 3 H W"),
            intrinsics=(self.intrinsics, "B 3 3"),
            has_sources=(self.has_sources, "B"),
            panoptic=(panoptic, "B 1 H W"),
            labelled=(self.labelled, "B"),
            pseudo=(self.pseudo, "B"),
            centers=(self.centers, "B 1 H W"),
            center_weights=(self.center_weights, "B 1 H W"),
            offsets_px=(self.offsets_px, "B 2 H W"),
            offset_weights=(self.offset_weights, "B 1 H W"),
            semantic_weights=(self.semantic_weights, "B H W"),
            depth_m=(self.depth_m, "B 1 H W"),
            has_depth=(self.has_depth, "B"),
            inverse_depth=(self.inverse_depth, "B 1 H W"),
            has_inverse_depth=(self.has_inverse_depth, "B"),
            **{f"sources[{place}]": (source, "B 3 H W") for place, source in enumerate(self.sources)},
        )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.image.shape[2], self.image.shape[3]


@dataclass(frozen=True, eq=False, slots=True)
class TrainingPrediction:
    """What the networks said of a `TrainingBatch`; what no term of the objective asks for may be empty.

    Attributes:
        output: of the network for the target frames, with all disparities, their features, and flow to frame t - 1.
        source_from_target: for each source of the batch (B, 4, 4), the motion that carries points of the target camera
            into the source camera, in the unit of the depth.
        flow_back_px: finest first, each (B, 2, h, w) (dx, dy) at the pixels of frame t - 1, pointing into the target,
            in pixels of H x W, at the sizes of `output.flow_px`; empty where only one direction is trained.
        flow_to_target_px: for each source of the batch (B, 2, h, w) (dx, dy) at the source's pixels, pointing into the
            target, in pixels of H x W; from any flow network; for the mask of moving objects.
        flow_to_sources_px: likewise at the target's pixels, pointing into each source; for the other mask.

    Raises:
        ShapeError: entries disagree on B.
    """

    output: NetworkOutput
    source_from_target: tuple[Tensor, ...] = ()
    flow_back_px: tuple[Tensor, ...] = ()
    flow_to_target_px: tuple[Tensor, ...] = ()
    flow_to_sources_px: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        """Check shapes."""
        check_shapes(
            "",
            **{"output.class_logits": (self.output.class_logits, "B C a b")},
            **{f"source_from_target[{i}]": (entry, "B 4 4") for i, entry in enumerate(self.source_from_target)},
            **{f"flow_back_px[{i}]": (entry, f"B 2 h{i} w{i}") for i, entry in enumerate(self.flow_back_px)},
            **{f"flow_to_target_px[{i}]": (entry, "B 2 H W") for i, entry in enumerate(self.flow_to_target_px)},
            **{f"flow_to_sources_px[{i}]": (entry, "B 2 H W") for i, entry in enumerate(self.flow_to_sources_px)},
        )


@dataclass(frozen=True, eq=False, slots=True)
class TermInputs:
    """What a term of the objective is computed from.

    Attributes:
        batch: the samples that have what the term needs.
        prediction: what the networks said of them.
        config: weights and settings.
        thing_ids: class ids of things.
        upright_ids: class ids of what stands upright.
        depth_range_m: what disparities 1 and 0 stand for; at the canonical focal length, where there is one.
        canonical_focal_px: focal length at which `depth_range_m` is in metres; 0 where depth is up to scale.
        progress: 0 at the first step, 1 at the last.
        generator: for noise that breaks ties; None for none.
    """

    batch: TrainingBatch
    prediction: TrainingPrediction
    config: LossConfig
    thing_ids: tuple[int, ...]
    upright_ids: tuple[int, ...]
    depth_range_m: tuple[float, float]
    canonical_focal_px: float = 0.0
    progress: float = 0.0
    generator: torch.Generator | None = None

    @property
    def panoptic(self) -> Tensor:
        """(B, 1, H, W) panoptic ids."""
        assert self.batch.panoptic is not None  # the objective asked for it
        return panoptic_with_channel(self.batch.panoptic)

    @property
    def label_weights(self) -> Tensor | None:
        """(B,) weight of each image's label: 1 for ground truth, `LossConfig.pseudo_labels` for a pseudo-label."""
        if self.batch.pseudo is None:
            return None
        return torch.where(self.batch.pseudo, self.config.pseudo_labels, 1.0)

    def depth_m(self, disparity: Tensor) -> Tensor:
        """Turn disparity (B, 1, h, w) into depth: metres for a metric network, else the network's own unit."""
        depth = disparity_to_depth(disparity, *self.depth_range_m)
        if not self.canonical_focal_px or self.batch.intrinsics is None:
            return depth
        return depth * canonical_factor(self.batch.intrinsics, self.canonical_focal_px)[:, None, None, None]


def select(item: T, rows: Tensor) -> T:
    """Take some of the samples of a batch or a prediction.

    Args:
        item: a `TrainingBatch` or `TrainingPrediction`, or a part of one.
        rows: (N,) int64 sample numbers.
    """
    selected = map_tensors(item, lambda tensor: tensor[rows.to(tensor.device)])
    if isinstance(selected, TrainingBatch) and selected.names:
        return dataclasses.replace(selected, names=tuple(selected.names[row] for row in rows.tolist()))
    return selected


def single_precision(item: T) -> T:
    """Turn half-precision tensors of a batch or a prediction into float32; all others stay."""
    return map_tensors(
        item, lambda tensor: tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
    )


def map_tensors(item: T, function: Callable[[Tensor], Tensor]) -> T:
    """Apply a function to each tensor of a dataclass or tuple, whatever its depth; all else stays."""
    value: Any = item
    if isinstance(value, Tensor):
        value = function(value)
    elif isinstance(value, tuple):
        value = tuple(map_tensors(entry, function) for entry in value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        entries = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        value = dataclasses.replace(value, **{name: map_tensors(entry, function) for name, entry in entries.items()})
    mapped: T = value
    return mapped
