# SPDX-License-Identifier: Apache-2.0
"""Intersection over union of classes over the pixels of all frames, and its mean (Everingham et al. 2010).

Classes that the labels do not tell apart are one (`ClassGroups`). Void of the truth does not count. A pixel of the
truth that is of none of the named classes is no class of its own in the mean, but what is predicted there is false.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.errors import ShapeError
from monodvps_ros.labels import VOID_CLASS_ID, ClassGroups
from monodvps_ros.metrics.metric import Figure, Frame, Metric, Need, Totals, mean_or_none, percent


class ClassIoU(Metric):
    """IoU by class, mIoU over the classes with any pixel, true or predicted, and pixel accuracy."""

    needs = frozenset({Need.CLASSES})
    figures = (
        Figure("miou", "mIoU", ("miou",), card="mean IoU of classes"),
        Figure("pixel_accuracy", "pixel accuracy", ("pixel_accuracy",)),
    )

    def __init__(self, groups: ClassGroups) -> None:
        self.groups = groups
        super().__init__()

    def measure(self, frame: Frame) -> float | None:
        """Count one frame, in which what is predicted void is wrong; return its mIoU, 0..1, None where all is void.

        Raises:
            ShapeError: the maps differ in size.
        """
        truth, prediction = frame.true_groups, frame.predicted_groups
        assert truth is not None and prediction is not None
        if truth.shape != prediction.shape:
            raise ShapeError(f"truth is {truth.shape} but prediction is {prediction.shape}; resize the prediction")
        known, size = truth != VOID_CLASS_ID, len(self.groups.names) + 1
        true, predicted = (np.minimum(part[known], size - 1).astype(np.intp) for part in (truth, prediction))
        confusion = np.bincount(true * size + predicted, minlength=size * size).reshape(size, size)
        self._totals["confusion"] += confusion
        return mean_or_none(_ious(confusion)[_present(confusion)])

    def result(self) -> dict[str, Any]:
        """Return mIoU and pixel accuracy in percent, and the number of pixels of the classes in the truth."""
        confusion = self._totals["confusion"]
        pixels, right = int(confusion[:-1].sum()), int(np.trace(confusion[:-1, :-1]))
        return {
            "miou": percent(mean_or_none(_ious(confusion)[_present(confusion)])),
            "pixel_accuracy": percent(right / pixels) if pixels else None,
            "pixels": pixels,
        }

    def per_class(self) -> dict[str, dict[str, Any]]:
        """Return the IoU of each class in percent, None for absent ones."""
        confusion = self._totals["confusion"]
        ious, present = _ious(confusion), _present(confusion)
        return {
            name: {"iou": percent(ious[index]) if present[index] else None}
            for index, name in enumerate(self.groups.names)
        }

    def _zeros(self) -> Totals:
        size = len(self.groups.names) + 1
        return {"confusion": np.zeros((size, size), np.int64)}


def _unions(confusion: NDArray[np.int64]) -> NDArray[np.int64]:
    unions: NDArray[np.int64] = confusion.sum(axis=0) + confusion.sum(axis=1) - np.diagonal(confusion)
    return unions[:-1]


def _present(confusion: NDArray[np.int64]) -> NDArray[np.bool_]:
    return _unions(confusion) > 0


def _ious(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    ious: NDArray[np.float64] = np.diagonal(confusion)[:-1] / np.maximum(_unions(confusion), 1)
    return ious
