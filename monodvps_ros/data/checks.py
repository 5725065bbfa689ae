# SPDX-License-Identifier: Apache-2.0
"""What every source of samples checks: order of time, sizes, and the encoding of labels and depth."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.errors import DataError
from monodvps_ros.labels import LABEL_DIVISOR, VOID_CLASS_ID, VOID_PANOPTIC_ID, LabelSpace

log = logging.getLogger(__name__)

#: Medians of depth outside this range come of another unit or factor rather than of a scene.
MIN_MEDIAN_DEPTH_M, MAX_MEDIAN_DEPTH_M = 0.5, 200.0

_TRAIN_IDS = (*range(19), VOID_CLASS_ID)
_MAX_LABEL_ID = 33  # of Cityscapes
#: As in SemanticKITTI's label files, things in motion last.
_SEMANTIC_KITTI_IDS = (
    *(0, 1, 10, 11, 13, 15, 16, 18, 20, 30, 31, 32, 40, 44, 48, 49, 50, 51, 52, 60, 70, 71, 72, 80, 81, 99),
    *range(252, 260),
)


def check_increasing(previous_ns: int, stamp_ns: int, where: str) -> None:
    """Check that a frame is younger than the one before it.

    Args:
        previous_ns: the latest stamp before.
        stamp_ns: stamp of the frame.
        where: path or topic, for the message.

    Raises:
        DataError: it is not.
    """
    if stamp_ns <= previous_ns:
        raise DataError(
            f"{where}: stamp {stamp_ns} ns does not come after the previous frame's {previous_ns} ns; "
            "frames must be in order of time"
        )


def check_size(size: Sequence[int], expected: Sequence[int], where: str, of: str = "the image") -> None:
    """Check that a map has the size of its image.

    Raises:
        DataError: it has not.
    """
    if tuple(size) != tuple(expected):
        raise DataError(f"{where}: is {size[0]} x {size[1]} (height x width) but {of} is {expected[0]} x {expected[1]}")


def check_panoptic(panoptic: NDArray[np.uint16], labels: LabelSpace, where: str) -> None:
    """Check that each panoptic id is void, of stuff without an instance, or of a thing.

    Stuff with an instance is what tells encodings apart that look alike.

    Raises:
        DataError: a class is not of the label space, or stuff has an instance.
    """
    ids = np.flatnonzero(np.bincount(panoptic.ravel(), minlength=VOID_PANOPTIC_ID + 1)[:VOID_PANOPTIC_ID])
    classes, instances = ids // LABEL_DIVISOR, ids % LABEL_DIVISOR
    unknown = ids[classes >= len(labels)]
    if unknown.size:
        raise DataError(
            f"{where}: panoptic id {unknown[0]} is of class {unknown[0] // LABEL_DIVISOR}, but label space "
            f"'{labels.name}' has classes 0..{len(labels) - 1} (void is {VOID_PANOPTIC_ID}){_encoding(ids, labels)}"
        )
    wrong = (instances > 0) & ~labels.is_thing[classes]
    if wrong.any():
        raise DataError(
            f"{where}: panoptic id {ids[wrong][0]} is instance {instances[wrong][0]} of "
            f"'{labels.names[classes[wrong][0]]}', which is stuff; expected class * {LABEL_DIVISOR} for stuff"
            f"{_encoding(ids, labels)}"
        )


def check_classes(classes: NDArray[np.integer[Any]], labels: LabelSpace, where: str) -> None:
    """Check that each class id is void (255) or of the label space.

    Raises:
        DataError: one is not.
    """
    ids = np.unique(classes)
    unknown = ids[(ids >= len(labels)) & (ids != VOID_CLASS_ID)]
    if unknown.size:
        raw = np.isin(ids, _SEMANTIC_KITTI_IDS).all()
        raise DataError(
            f"{where}: contains class {unknown[0]}; label space '{labels.name}' has 0..{len(labels) - 1} and "
            f"{VOID_CLASS_ID} for void"
            + ("; these look like SemanticKITTI's raw label ids (car 10, road 40): map them to classes" if raw else "")
        )


def depth_problem(depth_m: NDArray[np.float32]) -> str:
    """Say in words why a depth map is hardly in metres; empty where it may be, or where nothing is known.

    Args:
        depth_m: any shape, metres, NaN where there is none.
    """
    known = depth_m[np.isfinite(depth_m)]
    median_m = float(np.median(known[:: 1 + known.size // 100_000])) if known.size else None
    if median_m is None or MIN_MEDIAN_DEPTH_M <= median_m <= MAX_MEDIAN_DEPTH_M:
        return ""
    return (
        f"the median depth is {median_m:.3g} m, expected {MIN_MEDIAN_DEPTH_M} to {MAX_MEDIAN_DEPTH_M:g} m; check the "
        "unit and the factor of the depth"
    )


class DepthCheck:
    """Warns of the first depth map of a stream that is hardly in metres."""

    def __init__(self) -> None:
        self._reported = False

    def warn(self, depth_m: NDArray[np.float32], where: str) -> None:
        """Take the next depth map, metres, NaN where there is none."""
        problem = "" if self._reported else depth_problem(depth_m)
        if problem:
            self._reported = True
            log.warning("%s: %s", where, problem)


def _encoding(ids: NDArray[np.int64], labels: LabelSpace) -> str:
    """Name the Cityscapes encoding that panoptic ids with wrong stuff are in; empty where it is none."""
    small = ids[(ids > 0) & (ids < LABEL_DIVISOR)]
    beyond = ids[(ids >= LABEL_DIVISOR) & (ids // LABEL_DIVISOR >= len(labels))] // LABEL_DIVISOR
    if labels.is_thing[0] or not small.size:
        return ""
    if np.isin(small, _TRAIN_IDS).all() and not beyond.size:
        return (
            "; these look like the original Cityscapes *_gtFine_instanceTrainIds (stuff is its train id, void 255): "
            f"multiply stuff by {LABEL_DIVISOR}"
        )
    if small.max() <= _MAX_LABEL_ID and (beyond <= _MAX_LABEL_ID).all():
        return "; these look like Cityscapes *_labelIds or *_instanceIds (road is 7): map them to train ids"
    return ""
