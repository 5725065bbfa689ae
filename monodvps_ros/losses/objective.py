# SPDX-License-Identifier: Apache-2.0
"""The weighted sum of all losses (Eqs. 10 and 11)."""

import torch
from torch import Tensor

from monodvps_ros.config import LossConfig
from monodvps_ros.errors import ConfigError, NotFiniteError
from monodvps_ros.geometry.resizing import resize_bilinear, resize_nearest
from monodvps_ros.labels import LabelSpace
from monodvps_ros.losses.batch import TrainingBatch, TrainingPrediction, select, single_precision
from monodvps_ros.losses.moving_objects import iou_threshold_at
from monodvps_ros.losses.panoptic import center_loss, class_target, offset_loss, semantic_loss, small_instance_weights
from monodvps_ros.losses.panoptic_edge_discontinuity import panoptic_edge_discontinuity
from monodvps_ros.losses.panoptic_map import panoptic_with_channel
from monodvps_ros.losses.panoptic_smoothness import panoptic_smoothness
from monodvps_ros.losses.pseudo_depth import scale_shift_invariant
from monodvps_ros.losses.scales import (
    HalfResolution,
    mean_over_scales,
    multi_scale_flow_loss,
    resize_area,
    supervised_depth_loss,
)
from monodvps_ros.losses.smoothness import edge_aware_smoothness
from monodvps_ros.losses.triplet import panoptic_triplet

#: Terms of Eq. 11, weighted by the settings of the same names.
DEPTH_TERMS = ("photometric", "smoothness", "panoptic_smoothness", "panoptic_edges", "triplet", "supervised_depth",
               "pseudo_depth")  # fmt: skip
#: Terms of the instance loss, weighted by the settings of the same names.
INSTANCE_TERMS = ("center", "offset")
_FROM_LABELS = ("panoptic_smoothness", "panoptic_edges", "triplet", "semantic", *INSTANCE_TERMS)
_FROM_SOURCES = ("photometric", "flow")


class Objective:
    """L = depth L_depth + semantic L_semantic + instance L_instance + flow L_flow: Eq. 10.

    L_depth is Eq. 11 (with the losses against measured depth and against a teacher's beside it), L_instance =
    200 L_center + 0.01 L_offset. A term whose weight is 0, or whose group's weight is 0, is neither computed nor asked
    for. Class scores, centres and offsets of images whose labels are a teacher's weigh `LossConfig.pseudo_labels`.

    What each term is averaged over: the scales; then the images that have what it needs (`TrainingBatch.labelled`,
    `has_sources`). A batch in which none has counts as 0.

    Where the paper is silent: smoothness, the two panoptic-guided losses beside it and the triplet loss are taken at
    each disparity's own size and halved from scale to scale (Godard et al. 2019); class scores, centres and offsets are
    enlarged bilinearly to the labels' size (Cheng et al. 2020); a pixel that lands outside of both sources does not
    count in the photometric loss.
    """

    def __init__(
        self,
        config: LossConfig,
        label_space: LabelSpace,
        depth_range_m: tuple[float, float] = (0.1, 100.0),
        generator: torch.Generator | None = None,
    ) -> None:
        """Take the settings.

        Args:
            config: weights and settings.
            label_space: of the panoptic ids.
            depth_range_m: what disparities 1 and 0 stand for.
            generator: for `minimum_reprojection_loss`; None for no noise.
        """
        self.config = config
        self.thing_ids = label_space.thing_ids
        self.depth_range_m = depth_range_m
        self.generator = generator

    @property
    def active_terms(self) -> tuple[str, ...]:
        """Names of the terms that are computed."""
        config = self.config
        groups = [(DEPTH_TERMS, config.depth), (INSTANCE_TERMS, config.instance)]
        inner = [name for names, weight in groups if weight > 0 for name in names if getattr(config, name) > 0]
        return (*inner, *(name for name in ("semantic", "flow") if getattr(config, name) > 0))

    def __call__(
        self, batch: TrainingBatch, prediction: TrainingPrediction, step: int = 0, total_steps: int = 1
    ) -> dict[str, Tensor]:
        """Compute all terms and their sum, in float32 also under mixed precision.

        Args:
            batch: what is known.
            prediction: what the networks said.
            step: number of this step, from 0; moves the threshold for moving objects and stands in error messages.
            total_steps: of the whole training.

        Returns:
            Scalars by name: the active terms, not yet weighted; 'depth' (Eq. 11) and 'instance' where they have terms;
            'total' (Eq. 10), which is to be minimised.

        Raises:
            ConfigError: an active term needs what the batch or the prediction does not have.
            NotFiniteError: a term is NaN or infinite; the message names it, the sample and the step.
            ShapeError: batch and prediction disagree on a size.
        """
        progress = step / max(1, total_steps - 1)
        with torch.autocast(batch.image.device.type, enabled=False):
            prediction = single_precision(prediction)
            terms = self._compute(self.active_terms, batch, prediction, progress)
            self._check_finite(terms, batch, prediction, step, progress)
            return self._weigh(terms, batch.image)

    def _weigh(self, terms: dict[str, Tensor], image: Tensor) -> dict[str, Tensor]:
        result = dict(terms)
        total = image.new_zeros(())
        for group, names in (("depth", DEPTH_TERMS), ("instance", INSTANCE_TERMS)):
            parts = [getattr(self.config, name) * terms[name] for name in names if name in terms]
            if parts:
                result[group] = torch.stack(parts).sum()
        for name in ("depth", "semantic", "instance", "flow"):
            if name in result:
                total = total + getattr(self.config, name) * result[name]
        result["total"] = total
        return result

    def _compute(
        self, names: tuple[str, ...], batch: TrainingBatch, prediction: TrainingPrediction, progress: float
    ) -> dict[str, Tensor]:
        """Compute terms, each on the samples that have what it needs."""
        labelled = _flagged(batch, prediction, batch.labelled)
        with_sources = _flagged(batch, prediction, batch.has_sources)
        terms = {}
        for name in names:
            usable = (
                labelled if name in _FROM_LABELS else with_sources if name in _FROM_SOURCES else (batch, prediction)
            )
            if usable is None:
                terms[name] = batch.image.new_zeros(())
            elif name == "photometric":
                terms[name] = self._photometric(*usable, progress)
            else:
                terms[name] = getattr(self, f"_{name}")(*usable)
        return terms

    def _photometric(self, batch: TrainingBatch, prediction: TrainingPrediction, progress: float) -> Tensor:
        self._need("photometric", batch, "sources", "intrinsics")
        self._need("photometric", prediction, "output.disparities", "source_from_target")
        half = HalfResolution(batch, prediction, self.depth_range_m)
        mask = None
        if self.config.mask_moving_objects:
            self._need("mask_moving_objects", batch, "panoptic")
            self._need("mask_moving_objects", prediction, "flow_to_target_px")
            threshold = iou_threshold_at(progress, self.config.iou_start, self.config.iou_end)
            mask = half.moving_mask(self.config, self.thing_ids, threshold)
        return half.reprojection(self.config, mask, self.generator)

    def _smoothness(self, batch: TrainingBatch, prediction: TrainingPrediction) -> Tensor:
        self._need("smoothness", prediction, "output.disparities")
        return mean_over_scales(
            prediction.output.disparities,
            lambda disparity, size: edge_aware_smoothness(disparity, resize_area(batch.image, size)),
        )

    def _panoptic_smoothness(self, batch: TrainingBatch, prediction: TrainingPrediction) -> Tensor:
        self._need("panoptic_smoothness", prediction, "output.disparities")
        ids = self._panoptic("panoptic_smoothness", batch)
        return mean_over_scales(
            prediction.output.disparities,
            lambda disparity, size: panoptic_smoothness(disparity, resize_nearest(ids, size)),
        )

    def _panoptic_edges(self, batch: TrainingBatch, prediction: TrainingPrediction) -> Tensor:
        self._need("panoptic_edges", prediction, "output.disparities")
        ids = self._panoptic("panoptic_edges", batch)
        return mean_over_scales(
            prediction.output.disparities,
            lambda disparity, size: panoptic_edge_discontinuity(disparity, resize_nearest(ids, size)),
        )

    def _triplet(self, batch: TrainingBatch, prediction: TrainingPrediction) -> Tensor:
        self._need("triplet", prediction, "output.depth_features")
        ids = self._panoptic("triplet", batch)
        config = self.config
        return mean_over_scales(
            prediction.output.depth_features,
            lambda features, size: panoptic_triplet(
                features,
                resize_nearest(ids, size),
                config.triplet_patch,
                config.triplet_margin,
                config.triplet_stride,
                config.triplet_min_members,
            ),
        )

    def _supervised_depth(self, batch: TrainingBatch, prediction: TrainingPrediction) -> Tensor:
        self._need("supervised_depth", batch, "depth_m")
        self._need("supervised_depth", prediction, "output.disparities")
        assert batch.depth_m is not None
        return supervised_depth_loss(
            prediction.output.disparities, batch.depth_m, self.depth_range_m, self.config.scale_invariance
        )

    def _pseudo_depth(self, batch: TrainingBatch, prediction: TrainingPrediction) -> Tensor:
        self._need("pseudo_depth", batch, "inverse_depth")
        self._need("pseudo_depth", prediction, "output.disparities")
        assert batch.inverse_depth is not None
        losses = [
            scale_shift_invariant(resize_bilinear(disparity, batch.size), batch.inverse_depth)
            for disparity in prediction.output.disparities
        ]
        return torch.stack(losses).mean()

    def _semantic(self, batch: TrainingBatch, prediction: TrainingPrediction) -> Tensor:
        ids = self._panoptic("semantic", batch)
        weights = batch.semantic_weights
        if weights is None:
            weights = small_instance_weights(
                ids, self.thing_ids, self.config.small_instance_px, self.config.small_instance_weight
            )
        logits = resize_bilinear(prediction.output.class_logits, batch.size)
        return semantic_loss(logits, class_target(ids), weights, self.config.hard_pixels, self._label_weights(batch))

    def _center(self, batch: TrainingBatch, prediction: TrainingPrediction) -> Tensor:
        self._need("center", batch, "centers")
        self._need("center", prediction, "output.center_heatmap")
        assert prediction.output.center_heatmap is not None
        assert batch.centers is not None
        heatmap = resize_bilinear(prediction.output.center_heatmap, batch.size)
        return center_loss(heatmap, batch.centers, batch.center_weights, self._label_weights(batch))

    def _offset(self, batch: TrainingBatch, prediction: TrainingPrediction) -> Tensor:
        self._need("offset", batch, "offsets_px", "offset_weights")
        self._need("offset", prediction, "output.offsets_px")
        assert prediction.output.offsets_px is not None
        assert batch.offsets_px is not None
        offsets = resize_bilinear(prediction.output.offsets_px, batch.size)
        return offset_loss(offsets, batch.offsets_px, batch.offset_weights, self._label_weights(batch))

    def _label_weights(self, batch: TrainingBatch) -> Tensor | None:
        """(B,) weight of each image's label: 1 for a true one, less or more for a teacher's guess."""
        if batch.pseudo is None:
            return None
        return torch.where(batch.pseudo, self.config.pseudo_labels, 1.0)

    def _flow(self, batch: TrainingBatch, prediction: TrainingPrediction) -> Tensor:
        self._need("flow", batch, "sources")
        self._need("flow", prediction, "output.flow_px")
        return multi_scale_flow_loss(batch, prediction, self.config)

    def _panoptic(self, term: str, batch: TrainingBatch) -> Tensor:
        self._need(term, batch, "panoptic")
        assert batch.panoptic is not None
        return panoptic_with_channel(batch.panoptic)

    @staticmethod
    def _need(term: str, holder: TrainingBatch | TrainingPrediction, *names: str) -> None:
        for name in names:
            value: object = holder
            for part in name.split("."):
                value = getattr(value, part)
            if value is None or (isinstance(value, tuple) and not value):
                where = "batch" if isinstance(holder, TrainingBatch) else "prediction"
                raise ConfigError(
                    f"loss.{term} is on but the {where} has no {name}; give it, or switch the term off in the config"
                )

    def _check_finite(
        self,
        terms: dict[str, Tensor],
        batch: TrainingBatch,
        prediction: TrainingPrediction,
        step: int,
        progress: float,
    ) -> None:
        """Wait for the device once; only where something is wrong look for the sample that did it."""
        if not terms:
            raise ConfigError("all terms of the objective are switched off; give one a weight above 0")
        names = list(terms)
        finite = torch.stack([terms[name].detach() for name in names]).isfinite().tolist()
        if all(finite):
            return
        name = names[finite.index(False)]
        guilty = []
        with torch.no_grad():
            for row in range(len(batch.image)):
                only = torch.tensor([row], device=batch.image.device)
                alone = self._compute((name,), select(batch, only), select(prediction, only), progress)
                if not bool(alone[name].isfinite()):
                    guilty.append(batch.names[row] if batch.names else f"number {row} of the batch")
        raise NotFiniteError(
            f"loss term '{name}' is {terms[name].item()} at step {step}, from sample {', '.join(guilty) or 'unknown'}; "
            "look at that sample's labels and camera, or lower the learning rate"
        )


def _flagged(
    batch: TrainingBatch, prediction: TrainingPrediction, flags: Tensor | None
) -> tuple[TrainingBatch, TrainingPrediction] | None:
    """Take the samples whose flag is set, all where there are no flags; None where no flag is set."""
    if flags is None:
        return batch, prediction
    rows = flags.nonzero()[:, 0]
    if len(rows) == 0:
        return None
    return (batch, prediction) if len(rows) == len(flags) else (select(batch, rows), select(prediction, rows))
