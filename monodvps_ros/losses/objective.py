# SPDX-License-Identifier: Apache-2.0
"""The weighted sum of all losses (Eqs. 10 and 11)."""

from collections.abc import Sequence
from operator import attrgetter

import torch
from torch import Tensor

from monodvps_ros.config import LossConfig
from monodvps_ros.errors import ConfigError, LabelError, NotFiniteError
from monodvps_ros.labels import LabelSpace
from monodvps_ros.losses.batch import TermInputs, TrainingBatch, TrainingPrediction, select, single_precision
from monodvps_ros.losses.terms import MASK_READS, TERMS, Need, Term


class Objective:
    """L = depth L_depth + semantic L_semantic + instance L_instance + flow L_flow: Eq. 10.

    L_depth is Eq. 11 (with the losses against measured depth and against a teacher's beside it), L_instance =
    200 L_center + 0.01 L_offset. A term whose weight is 0, or whose group's weight is 0, is neither computed nor asked
    for. Class scores, centres and offsets of images whose labels are a teacher's weigh `LossConfig.pseudo_labels`.

    What each term is averaged over: the scales; then the images that have what it needs (`Term.need`). A batch in
    which none has counts as 0.

    Where the paper is silent: smoothness, the two panoptic-guided losses beside it and the triplet loss are taken at
    each disparity's own size and halved from scale to scale (Godard et al. 2019); class scores, centres and offsets are
    enlarged bilinearly to the labels' size (Cheng et al. 2020); a pixel that lands outside of both sources does not
    count in the photometric loss.

    Args:
        config: weights and settings.
        label_space: of the panoptic ids.
        depth_range_m: what disparities 1 and 0 stand for.
        generator: for `minimum_reprojection_loss`; None for no noise.
        canonical_focal_px: of a metric network; 0 where depth is up to scale.
    """

    def __init__(
        self,
        config: LossConfig,
        label_space: LabelSpace,
        depth_range_m: tuple[float, float] = (0.1, 100.0),
        generator: torch.Generator | None = None,
        canonical_focal_px: float = 0.0,
    ) -> None:
        self.config = config
        self.thing_ids = label_space.thing_ids
        self.upright_ids = _upright_ids(config, label_space)
        self.depth_range_m = depth_range_m
        self.generator = generator
        self.canonical_focal_px = canonical_focal_px

    @property
    def active(self) -> tuple[Term, ...]:
        """The terms that are computed."""
        return tuple(term for term in TERMS if self._weight(term.name) > 0 and self._weight(term.group) > 0)

    @property
    def active_terms(self) -> tuple[str, ...]:
        """Names of the terms that are computed."""
        return tuple(term.name for term in self.active)

    @property
    def reads(self) -> frozenset[str]:
        """Everything that the active terms look at; see `Term.reads`."""
        active = self.active
        masks = self._mask_reads if any(term.name == "photometric" for term in active) else ()
        return frozenset(name for term in active for name in term.reads).union(masks)

    @property
    def _mask_reads(self) -> tuple[str, ...]:
        return MASK_READS[self.config.moving_test] if self.config.mask_moving_objects else ()

    def _weight(self, name: str) -> float:
        weight: float = getattr(self.config, name)
        return weight

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
            terms = self._compute(self.active, batch, prediction, progress)
            self._check_finite(terms, batch, prediction, step, progress)
            return self._weigh(terms, batch.image)

    def _weigh(self, terms: dict[str, Tensor], image: Tensor) -> dict[str, Tensor]:
        result, sums = dict(terms), dict[str, Tensor]()
        for term in self.active:
            part = terms[term.name] if term.group == term.name else self._weight(term.name) * terms[term.name]
            sums[term.group] = sums.get(term.group, image.new_zeros(())) + part
        result.update(sums)
        total = image.new_zeros(())
        for group, value in sums.items():
            total = total + self._weight(group) * value
        result["total"] = total
        return result

    def _compute(
        self, terms: Sequence[Term], batch: TrainingBatch, prediction: TrainingPrediction, progress: float
    ) -> dict[str, Tensor]:
        """Compute terms, each on the samples that have what it needs."""
        usable = {need: _select_usable(need, batch, prediction) for need in {term.need for term in terms}}
        values = {}
        for term in terms:
            usable_samples = usable[term.need]
            if usable_samples is None:
                values[term.name] = batch.image.new_zeros(())
                continue
            _check_given(term.name, term.reads, *usable_samples)
            if term.name == "photometric":
                _check_given("mask_moving_objects", self._mask_reads, *usable_samples)
            values[term.name] = term.compute(
                TermInputs(
                    *usable_samples,
                    self.config,
                    self.thing_ids,
                    self.upright_ids,
                    self.depth_range_m,
                    self.canonical_focal_px,
                    progress,
                    self.generator,
                )
            )
        return values

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
        broken = next(term for term in TERMS if term.name == name)
        culprits = []
        with torch.no_grad():
            for row in range(len(batch.image)):
                only = torch.tensor([row], device=batch.image.device)
                single = self._compute([broken], select(batch, only), select(prediction, only), progress)
                if not bool(single[name].isfinite()):
                    culprits.append(batch.names[row] if batch.names else f"number {row} of the batch")
        raise NotFiniteError(
            f"loss term '{name}' is {terms[name].item()} at step {step}, sample {', '.join(culprits) or 'unknown'}; "
            "check the labels and camera of that sample, or lower the learning rate"
        )


def _upright_ids(config: LossConfig, label_space: LabelSpace) -> tuple[int, ...]:
    if config.uprightness == 0:
        return ()
    try:
        return tuple(label_space.class_id(name) for name in config.upright_classes)
    except LabelError as error:
        raise ConfigError(f"loss.upright_classes: {error}; name classes of this label space") from error


def _select_usable(
    need: Need, batch: TrainingBatch, prediction: TrainingPrediction
) -> tuple[TrainingBatch, TrainingPrediction] | None:
    """Take the samples that have what is needed, all where nothing is; None where none has it."""
    flags = getattr(batch, need.value) if need.value else None
    if flags is None:
        return batch, prediction
    rows = flags.nonzero()[:, 0]
    if len(rows) == 0:
        return None
    return (batch, prediction) if len(rows) == len(flags) else (select(batch, rows), select(prediction, rows))


def _check_given(term: str, names: Sequence[str], batch: TrainingBatch, prediction: TrainingPrediction) -> None:
    for name in names:
        of_prediction = name.startswith("prediction.")
        holder, attribute = (prediction, name.removeprefix("prediction.")) if of_prediction else (batch, name)
        value = attrgetter(attribute)(holder)
        if value is None or (isinstance(value, tuple) and not value):
            raise ConfigError(
                f"loss.{term} is on but the {'prediction' if of_prediction else 'batch'} has no {attribute}; "
                "give it, or switch the term off in the config"
            )
