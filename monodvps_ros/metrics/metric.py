# SPDX-License-Identifier: Apache-2.0
"""What all metrics share: they are given frames, add to totals, and say their part of the result."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.errors import DataError
from monodvps_ros.labels import LabelSpace
from monodvps_ros.metrics.cooccurrence import CooccurrenceTable, cooccurrence, depth_error_levels
from monodvps_ros.metrics.segments import PanopticMap

#: Named arrays of fixed shape and of dtype int64 or float64, whose sums are the sums of what was measured.
Totals = dict[str, NDArray[Any]]


class Need(Enum):
    """Maps that a frame must have, of truth and of prediction, to be counted by a metric."""

    PANOPTIC = "panoptic"
    CLASSES = "classes"
    DEPTH = "depth"


@dataclass(frozen=True, eq=False)
class Frame:
    """The maps of one frame, all of one size; what is not known is None.

    Attributes:
        space: classes of the panoptic maps.
        depth_thresholds: of DVPQ, ascending.
        truth: (H, W) panoptic ids (65535 void), or a pair of class ids (255 void) and instance ids, which persist.
        prediction: like `truth`.
        true_groups: (H, W) uint8 group of each pixel, as `ClassGroups` numbers them.
        predicted_groups: like `true_groups`.
        true_depth_m: (H, W) metres, NaN or 0 where there is none.
        predicted_depth_m: (H, W) metres, scaled as it is to be measured.
        moving: (H, W) int8: 1 moves over the ground, 0 stands, -1 is not known.
        sequence: name of its sequence.
    """

    space: LabelSpace
    depth_thresholds: tuple[float, ...] = ()
    truth: PanopticMap | None = None
    prediction: PanopticMap | None = None
    true_groups: NDArray[np.uint8] | None = None
    predicted_groups: NDArray[np.uint8] | None = None
    true_depth_m: NDArray[Any] | None = None
    predicted_depth_m: NDArray[Any] | None = None
    moving: NDArray[np.int8] | None = None
    sequence: str = ""

    @cached_property
    def has(self) -> frozenset[Need]:
        """What both sides have; a true depth map without any depth is none."""
        pairs = {
            Need.PANOPTIC: (self.truth, self.prediction),
            Need.CLASSES: (self.true_groups, self.predicted_groups),
            Need.DEPTH: (self.true_depth_m, self.predicted_depth_m),
        }
        found = {need for need, pair in pairs.items() if all(part is not None for part in pair)}
        if self.true_depth_m is not None and not (self.true_depth_m > 0).any():
            found.discard(Need.DEPTH)
        return frozenset(found)

    @cached_property
    def depth_table(self) -> CooccurrenceTable:
        """Pairs of segments, by depth error; needs panoptic maps and depth."""
        assert self.truth is not None and self.prediction is not None
        assert self.true_depth_m is not None and self.predicted_depth_m is not None
        levels = depth_error_levels(self.true_depth_m, self.predicted_depth_m, self.depth_thresholds)
        return cooccurrence(self.truth, self.prediction, self.space, levels, len(self.depth_thresholds))

    @cached_property
    def table(self) -> CooccurrenceTable:
        """Pairs of segments, whatever their depth; needs panoptic maps."""
        assert self.truth is not None and self.prediction is not None
        return cooccurrence(self.truth, self.prediction, self.space)


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that reports, tables and model cards name.

    Attributes:
        name: its flat name, the same everywhere.
        title: in tables.
        path: keys that lead to it in the result of its metric.
        digits: decimals to show.
        unit: "%", "m" or "" for a ratio.
        lower_is_better: of two values.
        card: what it is, in a few words, where it stands at the top of the report; else empty.
    """

    name: str
    title: str
    path: tuple[str, ...]
    digits: int = 1
    unit: str = "%"
    lower_is_better: bool = False
    card: str = ""


class Metric(ABC):
    """A measure over sequences: `measure` each frame in time order, `end_sequence` after the last one, then `result`.

    What is kept from one sequence to the next are totals in arrays of fixed shape, whose memory does not grow.

    Attributes:
        needs: what a frame must have to be given to `measure`.
        figures: the numbers that tables show.
    """

    needs: ClassVar[frozenset[Need]]
    figures: ClassVar[tuple[Figure, ...]] = ()

    def __init__(self) -> None:
        self._totals = self._zeros()

    @abstractmethod
    def _zeros(self) -> Totals:
        """Totals of nothing."""

    @abstractmethod
    def measure(self, frame: Frame) -> float | None:
        """Count a frame that has what the metric needs.

        Returns:
            The score of this frame alone, by which the worst frames are found; None where it has none.
        """

    @abstractmethod
    def result(self) -> dict[str, Any]:
        """Return the scores of everything measured as plain dictionaries and numbers, None where there is nothing.

        Qualities are percentages, 0-100; depth errors are ratios, metres, and shares 0..1.
        """

    def per_class(self) -> dict[str, dict[str, Any]]:
        """Return what is known of each class, by its name."""
        return {}

    def state(self) -> dict[str, Any]:
        """Return what was measured of whole sequences, of JSON's types, for `add_state` of another one like this."""
        return {name: total.tolist() for name, total in self._totals.items()}

    def add_state(self, state: Mapping[str, Any]) -> None:
        """Add what another one has measured of other sequences.

        Raises:
            DataError: it was measured with other settings.
        """
        for name, total in self._totals.items():
            more = np.asarray(state.get(name), total.dtype if name in state else None)
            if more.shape != total.shape:
                raise DataError(f"'{name}' has shape {more.shape}; expected {total.shape}: the settings differ")
            np.add(total, more, out=total)

    def end_sequence(self) -> None:  # noqa: B027 - a metric without a memory of frames has nothing to do
        """Say that the next frame does not follow the last one."""


def mean_or_none(values: NDArray[Any]) -> float | None:
    """Mean of the values in float64, or None where there are none: no measure is not a measure of zero."""
    return float(np.mean(values, dtype=np.float64)) if values.size else None


def percent(value: float | None) -> float | None:
    """Turn a share into a percentage."""
    return None if value is None else 100.0 * float(value)
