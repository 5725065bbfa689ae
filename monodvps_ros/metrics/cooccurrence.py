# SPDX-License-Identifier: Apache-2.0
"""How often each true segment meets each predicted segment in a frame.

Every panoptic measure of this package is a function of this table alone. The table of a window of frames is the sum of
its frames' tables, so each pixel is looked at once, whatever the number of windows and depth thresholds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monodvps_ros.errors import ConfigError, ShapeError
from monodvps_ros.labels import LabelSpace
from monodvps_ros.metrics.segments import SEGMENT_STRIDE, VOID_SEGMENT, PanopticMap, as_array, compact
from monodvps_ros.shapes import check_shapes

DEPTH_UNITS_PER_METRE = 256
LARGEST_RAW_DEPTH = 65535
_PAIR_STRIDE = 256 * SEGMENT_STRIDE


@dataclass(frozen=True, eq=False, slots=True)
class CooccurrenceTable:
    """Pixel counts of pairs of a true and a predicted segment.

    Attributes:
        pairs: (n,) int64, ascending and unique, ``truth * 2**28 + prediction`` in segment ids.
        counts: (n, L + 1) int64 pixels of each pair, by how many of the L depth thresholds the pixel's depth error
            exceeds.
    """

    pairs: NDArray[np.int64]
    counts: NDArray[np.int64]

    @property
    def truth_ids(self) -> NDArray[np.int64]:
        """(n,) segment id of the true segment of each pair."""
        return self.pairs // _PAIR_STRIDE

    @property
    def predicted_ids(self) -> NDArray[np.int64]:
        """(n,) segment id of the predicted segment of each pair."""
        return self.pairs % _PAIR_STRIDE

    def without_depth(self) -> "CooccurrenceTable":
        """Return the table that counts every pixel, whatever its depth error."""
        return CooccurrenceTable(self.pairs, self.counts.sum(axis=1, keepdims=True))

    def at_threshold(self, index: int) -> "CooccurrenceTable":
        """Return the table in which predictions whose depth error exceeds a threshold, by rank from 0, are void.

        Source: Qiao et al. 2021 (ViP-DeepLab), section 3.4, and the evaluation script published with it.
        """
        kept = self.counts[:, : index + 1].sum(axis=1, keepdims=True)
        lost = self.counts[:, index + 1 :].sum(axis=1, keepdims=True)
        voided = self.truth_ids * _PAIR_STRIDE + VOID_SEGMENT
        return _sorted_sum(np.concatenate([self.pairs, voided]), np.concatenate([kept, lost]))


def cooccurrence(
    truth: PanopticMap,
    prediction: PanopticMap,
    space: LabelSpace,
    depth_levels: NDArray[np.uint8] | None = None,
    thresholds: int = 0,
) -> CooccurrenceTable:
    """Count how often each true segment meets each predicted one.

    Args:
        truth: (H, W) panoptic ids or a pair of class and instance ids.
        prediction: the same, of the same size.
        space: classes of both.
        depth_levels: (H, W) uint8 as `depth_error_levels` gives it; None counts no depth error.
        thresholds: number of depth thresholds, L.

    Raises:
        ShapeError: the maps differ in size, or do not hold whole numbers.
        LabelError: an id is of a class that the label space has not.
    """
    true_map, predicted_map = (as_array(part[0] if isinstance(part, tuple) else part) for part in (truth, prediction))
    if true_map.shape != predicted_map.shape or (depth_levels is not None and depth_levels.shape != true_map.shape):
        raise ShapeError(
            f"truth is {true_map.shape} but prediction is {predicted_map.shape}"
            + (f" and depth is {depth_levels.shape}" if depth_levels is not None else "")
            + "; resize predictions to the truth (nearest for ids)"
        )
    true_ids, true_rank = compact(truth, space, "truth")
    predicted_ids, predicted_rank = compact(prediction, space, "prediction")
    levels = thresholds + 1
    cell = true_rank * len(predicted_ids) + predicted_rank
    if depth_levels is not None:
        cell = cell * levels + depth_levels.reshape(-1)
    else:
        cell *= levels
    shape = (len(true_ids), len(predicted_ids), levels)
    counts = np.bincount(cell, minlength=int(np.prod(shape))).astype(np.int64).reshape(shape)
    rows, columns = np.nonzero(counts.any(axis=2))
    return CooccurrenceTable(true_ids[rows] * _PAIR_STRIDE + predicted_ids[columns], counts[rows, columns])


def sum_tables(tables: Sequence[CooccurrenceTable]) -> CooccurrenceTable:
    """Add one or more tables of as many depth thresholds: the table of a window of frames from those of its frames."""
    if len(tables) == 1:
        return tables[0]
    return _sorted_sum(
        np.concatenate([table.pairs for table in tables]), np.concatenate([table.counts for table in tables])
    )


def depth_error_levels(truth_m: ArrayLike, prediction_m: ArrayLike, thresholds: Sequence[float]) -> NDArray[np.uint8]:
    """Count for each pixel how many thresholds its relative depth error exceeds.

    The error is |prediction - truth| / truth, in the whole units of 1/256 m in which depth is stored; an error
    equal to a threshold does not exceed it. Where there is no true depth the level is 0. No predicted depth is
    depth 0, an error of 1.

    Args:
        truth_m: (H, W) metres; NaN, 0 and infinity are no depth.
        prediction_m: (H, W) metres; NaN and 0 are no depth.
        thresholds: ascending.

    Returns:
        (H, W) uint8, 0..len(thresholds).

    Raises:
        ShapeError: the maps differ in size.
        ConfigError: the thresholds do not ascend.

    Source: Qiao et al. 2021 (ViP-DeepLab), section 3.4, and the evaluation script published with it.
    """
    if any(later <= earlier for earlier, later in pairwise(thresholds)):
        raise ConfigError(f"depth thresholds must ascend but are {tuple(thresholds)}")
    truth, prediction = as_array(truth_m), as_array(prediction_m)
    check_shapes("resize the prediction to the truth", truth_depth=(truth, "H W"), predicted_depth=(prediction, "H W"))
    true_raw, predicted_raw = raw_depth(truth), raw_depth(prediction)
    known = (true_raw > 0) & np.isfinite(truth)
    error = np.abs(predicted_raw - true_raw) / np.maximum(true_raw, 1)
    error[~known] = 0.0
    levels = np.zeros(truth.shape, np.uint8)
    for threshold in thresholds:
        levels += error > threshold
    return levels


def raw_depth(depth_m: ArrayLike) -> NDArray[np.int64]:
    """Return depth as the data sets' PNG files hold it: int64 in units of 1/256 m, rounded, 0..65535, 0 for none."""
    # a power of two: the product is exact in float32 too
    values = as_array(depth_m)
    scaled: NDArray[Any] = values * np.asarray(
        DEPTH_UNITS_PER_METRE, values.dtype if values.dtype.kind == "f" else np.float64
    )
    np.rint(scaled, out=scaled)
    np.clip(scaled, 0, LARGEST_RAW_DEPTH, out=scaled)
    scaled[np.isnan(scaled)] = 0
    return scaled.astype(np.int64)


def _sorted_sum(pairs: NDArray[np.int64], counts: NDArray[np.int64]) -> CooccurrenceTable:
    counted = counts.any(axis=1)
    pairs, counts = pairs[counted], counts[counted]
    if not pairs.size:
        return CooccurrenceTable(pairs, counts)
    order = np.argsort(pairs, kind="stable")
    pairs, counts = pairs[order], counts[order]
    starts = np.flatnonzero(np.concatenate([[True], pairs[1:] != pairs[:-1]]))
    return CooccurrenceTable(pairs[starts], np.add.reduceat(counts, starts, axis=0))
