# SPDX-License-Identifier: Apache-2.0
"""All metrics of the table at once; those of depth once for each depth scaling."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.labels import LABEL_DIVISOR, VOID_CLASS_ID, VOID_PANOPTIC_ID, single_classes
from monodvps_ros.metrics.metric import Frame, Metric, Need
from monodvps_ros.metrics.segments import PanopticMap, as_array
from monodvps_ros.metrics.table import METRICS, MetricSettings, figures

#: Two ways in which classes are averaged; the first is that of the figures.
AVERAGING = {
    "figures": "mean over classes with tp + fp + fn > 0",
    "zero_filled": "mean over all classes of the label space, absent classes counted as 0",
}


class Evaluator:
    """Every metric over sequences; a frame is counted by those metrics whose maps it has.

    Args:
        settings: what metrics are made from.
        depth_scalings: names of the depth scalings; metrics that need depth are measured once for each.

    Raises:
        ConfigError: a window, a threshold or a ratio is out of range.
    """

    def __init__(self, settings: MetricSettings, depth_scalings: Sequence[str] = ("none",)) -> None:
        self.settings = settings
        self._classes = single_classes(settings.space)
        needs_depth = {name: Need.DEPTH in entry.kind.needs for name, entry in METRICS.items()}
        self._plain = {name: METRICS[name].make(settings) for name, needs in needs_depth.items() if not needs}
        self._by_scaling = {
            scaling: {name: METRICS[name].make(settings) for name, needs in needs_depth.items() if needs}
            for scaling in depth_scalings
        }

    def update(
        self,
        truth: PanopticMap | None,
        prediction: PanopticMap | None,
        true_depth_m: NDArray[Any] | None = None,
        depths_m: Mapping[str, NDArray[Any] | None] | None = None,
        *,
        true_groups: NDArray[np.uint8] | None = None,
        moving: NDArray[np.int8] | None = None,
        sequence: str = "",
    ) -> dict[str, float]:
        """Count one frame of the open sequence; what is not known is None, and all maps are of one size.

        Args:
            truth: (H, W) panoptic ids (65535 void), or a pair of class ids (255 void) and instance ids, which persist.
            prediction: the same.
            true_depth_m: (H, W) metres, NaN or 0 where there is none.
            depths_m: predicted depth, (H, W) metres, by depth scaling.
            true_groups: (H, W) uint8 class groups (254 none of them, 255 void); None takes the classes of `truth`.
            moving: (H, W) int8: 1 moves over the ground, 0 stands, -1 is not known.
            sequence: name of the open sequence.

        Returns:
            Score of this frame alone by metric, where it has one; that of depth is by the last depth scaling.

        Raises:
            ShapeError: maps differ in size, or ids are not whole numbers.
            LabelError: an id is of a class that the label space has not.
        """
        groups, rules = self.settings.groups, self.settings.rules
        if true_groups is None and truth is not None and groups == self._classes:
            true_groups = groups.table[class_map(truth)]
        frame = Frame(
            self.settings.space, tuple(sorted(rules.depth_thresholds)), truth, prediction, true_groups,
            None if prediction is None else groups.table[class_map(prediction)], true_depth_m, None, moving, sequence,
        )  # fmt: skip
        scores = _measure(self._plain, frame)
        for scaling, metrics in self._by_scaling.items():
            scores |= _measure(metrics, replace(frame, predicted_depth_m=(depths_m or {}).get(scaling)))
        return scores

    def end_sequence(self) -> None:
        """Say that the next frame does not follow the last one."""
        for metrics in (self._plain, *self._by_scaling.values()):
            for metric in metrics.values():
                metric.end_sequence()

    def state(self) -> dict[str, Any]:
        """Return what was measured of whole sequences, of JSON's types, for `add_state`."""
        return {name: {key: metric.state() for key, metric in metrics.items()} for name, metrics in self._parts()}

    def add_state(self, state: Mapping[str, Any]) -> None:
        """Add what another evaluator of the same settings has measured of other sequences.

        Raises:
            DataError: it was measured with other settings.
        """
        for name, metrics in self._parts():
            for key, metric in metrics.items():
                metric.add_state(state[name][key])

    def _parts(self) -> list[tuple[str, dict[str, Metric]]]:
        return [("", self._plain), *self._by_scaling.items()]

    def result(self) -> dict[str, Any]:
        """Return everything measured, ready for JSON; docs/evaluation.md describes it."""
        plain = _sections(self._plain)
        by_scaling = {scaling: _sections(metrics) for scaling, metrics in self._by_scaling.items()}
        return {
            "figures": {scaling: _figures({**plain, **sections}) for scaling, sections in by_scaling.items()},
            "averaging": dict(AVERAGING),
            **plain,
            "per_class": self._per_class(self._plain),
            "by_depth_scaling": {
                scaling: {**sections, "per_class": self._per_class(self._by_scaling[scaling])}
                for scaling, sections in by_scaling.items()
            },
        }

    def _per_class(self, metrics: Mapping[str, Metric]) -> dict[str, dict[str, Any]]:
        space, found = self.settings.space, {}
        if self.settings.groups == self._classes:
            found = {name: {"thing": space.classes[index].is_thing} for index, name in enumerate(space.names)}
        for metric in metrics.values():
            for name, values in metric.per_class().items():
                found.setdefault(name, {"thing": False}).update(values)
        return found


def class_map(panoptic: PanopticMap) -> NDArray[np.uint8]:
    """Return the (H, W) class ids, 255 is void, of panoptic ids or of a pair of class and instance ids."""
    if isinstance(panoptic, tuple):
        return as_array(panoptic[0]).astype(np.uint8)
    ids = as_array(panoptic)
    return np.where(ids == VOID_PANOPTIC_ID, VOID_CLASS_ID, ids // LABEL_DIVISOR).astype(np.uint8)


def _measure(metrics: Mapping[str, Metric], frame: Frame) -> dict[str, float]:
    scores = {name: metric.measure(frame) for name, metric in metrics.items() if metric.needs <= frame.has}
    return {name: score for name, score in scores.items() if score is not None}


def _sections(metrics: Mapping[str, Metric]) -> dict[str, dict[str, Any]]:
    return {name: metric.result() for name, metric in metrics.items()}


def _figures(sections: Mapping[str, Any]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name, figure in figures():
        value: Any = sections[name]
        for key in figure.path:
            value = value[key]
        found[figure.name] = value
    return found
