# SPDX-License-Identifier: Apache-2.0
"""Panoptic models of the Hugging Face hub that answer in queries, a class and a mask each: Mask2Former, OneFormer."""

from typing import Any

import torch
from torch import Tensor

from monodvps_ros.foundation.hub import HubModel
from monodvps_ros.foundation.names import class_mapping
from monodvps_ros.geometry.resizing import resize_bilinear
from monodvps_ros.labels import LabelSpace

#: A query whose best class is less sure than this makes no segment.
MIN_SCORE = 0.5
#: Where less than this share of a query's own mask is left to it by the others, it makes no segment.
MIN_LEFT = 0.8


class HubPanoptic:
    """A panoptic model of the hub, or of a folder; its classes are mapped to `labels` by name.

    Raises:
        LabelError: the model has classes without a counterpart.
        MissingDependencyError: transformers is not installed.
        WeightsError: the model cannot be had.
    """

    def __init__(self, name: str, labels: LabelSpace, device: torch.device) -> None:
        self.name = name
        self.labels = labels
        self._hub = HubModel(name, "AutoModelForUniversalSegmentation", device)
        self._class_of = torch.tensor(class_mapping(self._hub.config.id2label, labels), device=device)
        self._extra = self._task_input()

    def __call__(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Segment an image, (1, 3, H, W) in 0..1.

        Returns:
            Scores (1, C, H, W), logarithms of the classes' mass at each pixel; and instances (1, H, W) int64, 1.. for
            queries that are things, 0 for none.
        """
        answer = self._hub.model(pixel_values=self._hub.normalise(image), **self._extra)
        size = (image.shape[2], image.shape[3])
        masks = resize_bilinear(answer.masks_queries_logits.float(), size).sigmoid()[0]
        classes = self._map_classes(answer.class_queries_logits[0].float().softmax(1)[:, :-1])
        mass = torch.einsum("qc,qhw->chw", classes, masks)
        return mass.clamp(min=1e-8).log()[None], merge_queries(classes, masks, self.labels)[None]

    def _map_classes(self, probabilities: Tensor) -> Tensor:
        """(Q, model's classes) to (Q, C)."""
        mapped = probabilities.new_zeros(probabilities.shape[0], len(self.labels))
        return mapped.index_add_(1, self._class_of, probabilities)

    def _task_input(self) -> dict[str, Any]:
        """OneFormer wants to be told its task, in tokens (Jain et al. 2023, section 3.1)."""
        if self._hub.config.model_type != "oneformer":
            return {}
        return {"task_inputs": self._hub.tokens("the task is panoptic", self._hub.config.task_seq_len)}


def merge_queries(classes: Tensor, masks: Tensor, labels: LabelSpace) -> Tensor:
    """Give each pixel to the query that claims it most, and keep the things among the queries.

    Args:
        classes: (Q, C) probabilities, summing to at most 1 over C; the rest is "no object".
        masks: (Q, H, W) probabilities.
        labels: says which classes are things.

    Returns:
        (H, W) int64, number of the query + 1 where a thing claims the pixel, else 0.

    Source: Cheng et al. 2021 (MaskFormer), section 3.4, with its thresholds' meaning; 0.5 and 0.8 as published for
    Cityscapes.
    """
    score, best = classes.max(1)
    counts = score >= MIN_SCORE
    claim = torch.where(counts[:, None, None], score[:, None, None] * masks, 0.0)
    winner = claim.argmax(0)
    own = masks >= 0.5
    won = torch.nn.functional.one_hot(winner, len(score)).permute(2, 0, 1).bool() & own
    left = won.sum((1, 2)) / own.sum((1, 2)).clamp(min=1)
    things = torch.from_numpy(labels.is_thing.copy()).to(best.device)[best]
    kept = counts & things & (left >= MIN_LEFT)
    instances = torch.where(kept[winner] & own.gather(0, winner[None])[0], winner + 1, 0)
    return instances.long()
