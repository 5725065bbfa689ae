# SPDX-License-Identifier: Apache-2.0
"""Video panoptic quality over windows of k frames, and its depth-aware form.

VPQ^k (Kim et al. 2020) matches tubes: the segments of k frames laid side by side. DVPQ^k_lambda (Qiao et al. 2021) does
so after voiding each prediction whose relative depth error exceeds lambda. Windows advance by one frame, and counts of
all windows of all sequences are added before any quality is computed, as in the scripts published with ViP-DeepLab.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from monodvps_ros.errors import ConfigError
from monodvps_ros.labels import LabelSpace
from monodvps_ros.metrics.cooccurrence import CooccurrenceTable, sum_tables
from monodvps_ros.metrics.metric import Figure, Frame, Metric, Need, Totals, mean_or_none, percent
from monodvps_ros.metrics.panoptic_quality import (
    GROUPS,
    PanopticCounts,
    class_quality,
    count_matches,
    group_means,
    zero_counts,
)


@dataclass(frozen=True, eq=False, slots=True)
class VideoPanopticScores:
    """Counts and qualities by window and by depth threshold.

    Attributes:
        vpq: k to counts, depth not looked at.
        dvpq: lambda to k to counts.
        windows: k to the number of windows counted.
    """

    vpq: dict[int, PanopticCounts]
    dvpq: dict[float, dict[int, PanopticCounts]]
    windows: dict[int, int]

    def dvpq_mean(self, group: str = "all", fill_absent: bool = False) -> float | None:
        """Mean of DVPQ over all lambda and k, each the mean over classes; k without a window are left out."""
        means = [
            counts.mean("pq", group, fill_absent)
            for by_window in self.dvpq.values()
            for k, counts in by_window.items()
            if self.windows[k]
        ]
        return mean_or_none(np.array([mean for mean in means if mean is not None]))


class VideoPanopticQuality(Metric):
    """VPQ^k and DVPQ^k_lambda. Memory holds the tables of the last max(k) frames, however long the sequence.

    Args:
        space: classes.
        windows: lengths k in frames.
        depth_thresholds: lambda, in any order; empty for VPQ alone.

    Raises:
        ConfigError: there is no window, one is below 1, a threshold is not above 0, or one is given twice.
    """

    needs = frozenset({Need.PANOPTIC})
    figures = (Figure("vpq", "VPQ, mean over k", ("mean", "all")),)

    def __init__(self, space: LabelSpace, windows: Sequence[int], depth_thresholds: Sequence[float] = ()) -> None:
        if not windows or min(windows) < 1 or len(set(windows)) != len(windows):
            raise ConfigError(f"windows must be lengths of 1 frame or more, each once, but are {tuple(windows)}")
        if any(not value > 0 for value in depth_thresholds) or len(set(depth_thresholds)) != len(depth_thresholds):
            raise ConfigError(f"depth thresholds must be above 0, each once, but are {tuple(depth_thresholds)}")
        self.space = space
        self.windows = tuple(sorted(windows))
        self.depth_thresholds = tuple(sorted(depth_thresholds))
        self._recent: deque[CooccurrenceTable] = deque(maxlen=max(windows))
        super().__init__()

    def measure(self, frame: Frame) -> None:
        """Count every window that ends with this frame."""
        self._count(frame.table)

    def _count(self, table: CooccurrenceTable) -> None:
        self._recent.append(table)
        recent = list(self._recent)
        for place, k in enumerate(self.windows):
            if len(recent) < k:
                continue
            window = sum_tables(recent[-k:])
            self._totals["windows"][place] += 1
            self._add(place, 0, window.without_depth())
            for index in range(len(self.depth_thresholds)):
                self._add(place, index + 1, window.at_threshold(index))

    def end_sequence(self) -> None:
        """Say that the next frame does not follow the last one; no window spans both."""
        self._recent.clear()

    def compute(self) -> VideoPanopticScores:
        """Return counts and qualities of everything measured."""
        totals = {name: total.copy() for name, total in self._totals.items()}
        windows = totals.pop("windows")

        def counts(place: int, index: int) -> PanopticCounts:
            return PanopticCounts(self.space, **{name: total[place, index] for name, total in totals.items()})

        return VideoPanopticScores(
            {k: counts(place, 0) for place, k in enumerate(self.windows)},
            {
                threshold: {k: counts(place, index + 1) for place, k in enumerate(self.windows)}
                for index, threshold in enumerate(self.depth_thresholds)
            },
            {k: int(windows[place]) for place, k in enumerate(self.windows)},
        )

    def _add(self, place: int, index: int, table: CooccurrenceTable) -> None:
        counts = count_matches(table, self.space)
        for name in ("iou_sum", "tp", "fn", "fp"):
            self._totals[name][place, index] += getattr(counts, name)

    def _zeros(self) -> Totals:
        zeros = zero_counts(len(self.windows), 1 + len(self.depth_thresholds), len(self.space))
        return {**zeros, "windows": np.zeros(len(self.windows), np.int64)}

    def result(self) -> dict[str, Any]:
        """Return VPQ by window and group of classes, with the number of windows."""
        scores = self.compute()

        def qualities(fill_absent: bool) -> dict[str, Any]:
            by_window = _by_window(scores.vpq, scores.windows, fill_absent)
            mean = {group: _mean_of([found[group] for found in by_window.values()]) for group in GROUPS}
            return {"mean": mean, "windows": by_window}

        counts = {str(k): count for k, count in scores.windows.items()}
        return {**qualities(fill_absent=False), "counts": counts, "zero_filled": qualities(fill_absent=True)}

    def per_class(self) -> dict[str, dict[str, Any]]:
        """Return VPQ of each class by window."""
        scores = self.compute().vpq
        return {
            name: {"vpq": {str(k): class_quality(counts, index) for k, counts in scores.items()}}
            for index, name in enumerate(self.space.names)
        }


class DepthVideoPanopticQuality(VideoPanopticQuality):
    """DVPQ^k_lambda over the frames that have depth; see `VideoPanopticQuality`."""

    needs = frozenset({Need.PANOPTIC, Need.DEPTH})
    figures = (
        Figure("dvpq", "DVPQ, mean over k and λ", ("mean", "all"),
               card="depth-aware video panoptic quality, mean over λ and k"),
    )  # fmt: skip

    def measure(self, frame: Frame) -> None:
        """Count every window that ends with this frame."""
        self._count(frame.depth_table)

    def result(self) -> dict[str, Any]:
        """Return DVPQ by threshold, window and group of classes, and the mean over thresholds and windows."""
        scores = self.compute()

        def qualities(fill_absent: bool) -> dict[str, Any]:
            by_threshold = {
                f"{threshold:g}": _by_window(by_window, scores.windows, fill_absent)
                for threshold, by_window in sorted(scores.dvpq.items(), reverse=True)
            }
            mean = {group: percent(scores.dvpq_mean(group, fill_absent)) for group in GROUPS}
            return {"mean": mean, "thresholds": by_threshold}

        counts = {str(k): count for k, count in scores.windows.items()}
        return {**qualities(fill_absent=False), "counts": counts, "zero_filled": qualities(fill_absent=True)}

    def per_class(self) -> dict[str, dict[str, Any]]:
        """Return DVPQ of each class, the mean over thresholds and windows."""
        tables = [counts for by_window in self.compute().dvpq.values() for counts in by_window.values()]
        return {
            name: {"dvpq": _mean_of([class_quality(counts, index) for counts in tables])}
            for index, name in enumerate(self.space.names)
        }


def _by_window(by_window: dict[int, PanopticCounts], windows: dict[int, int], fill_absent: bool) -> dict[str, Any]:
    return {
        str(k): group_means(counts, "pq", fill_absent) if windows[k] else dict.fromkeys(GROUPS)
        for k, counts in by_window.items()
    }


def _mean_of(values: Sequence[float | None]) -> float | None:
    return mean_or_none(np.array([value for value in values if value is not None]))
