# SPDX-License-Identifier: Apache-2.0
"""Segment ids: one whole number for a class and an instance, wide enough for every data set.

Panoptic ids (`monodvps_ros.labels`) hold 999 instances a class; SemKITTI-DVPS needs more. All metrics therefore
count by *segment ids*, ``class_id * 2**20 + instance_id`` in int64, void being class 255.
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monodvps_ros.errors import LabelError, ShapeError, counted
from monodvps_ros.labels import LABEL_DIVISOR, VOID_CLASS_ID, VOID_PANOPTIC_ID, LabelSpace

SEGMENT_STRIDE = 2**20
VOID_SEGMENT = VOID_CLASS_ID * SEGMENT_STRIDE

#: A panoptic map: (H, W) panoptic ids (65535 void), or a pair of (H, W) class ids (255 void) and (H, W) instance ids.
PanopticMap: TypeAlias = ArrayLike | tuple[ArrayLike, ArrayLike]


def as_array(values: ArrayLike) -> NDArray[Any]:
    """Return an array of numpy, on the CPU, of whatever contains numbers."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def compact(maps: PanopticMap, space: LabelSpace, name: str) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """List the segments of a panoptic map, and say for each pixel which it is.

    Args:
        maps: panoptic ids, or class and instance ids, of any one shape, of P elements.
        space: classes; ids of other classes are errors.
        name: of the map, for error messages.

    Returns:
        (n,) int64 ascending segment ids, and (P,) the place of each pixel's id among them.

    Raises:
        ShapeError: the ids are not whole numbers, or class and instance maps differ in shape.
        LabelError: an id is negative, or of a class that the label space has not.
    """
    if isinstance(maps, tuple):
        classes, instances = (_whole_numbers(as_array(part), name) for part in maps)
        if classes.shape != instances.shape:
            given = f"{counted(classes.size, 'class id')} but {counted(instances.size, 'instance id')}"
            raise ShapeError(f"{name} has {given}; give one of each")
        if instances.size and instances.max() >= SEGMENT_STRIDE:
            raise LabelError(f"{name} has instance id {instances.max()}; it must be below {SEGMENT_STRIDE}")
        instance_ids, instance_rank = _ranks(instances)
        pairs, rank = _ranks(classes.astype(np.int64) * max(len(instance_ids), 1) + instance_rank)
        segment_class, which = np.divmod(pairs, max(len(instance_ids), 1))
        segment_instance = instance_ids[which]
    else:
        panoptic_ids, rank = _ranks(_whole_numbers(as_array(maps), name))
        segment_class, segment_instance = np.divmod(panoptic_ids, LABEL_DIVISOR)
        void = panoptic_ids == VOID_PANOPTIC_ID
        segment_class[void], segment_instance[void] = VOID_CLASS_ID, 0
    wrong = (segment_class >= len(space)) & (segment_class != VOID_CLASS_ID)
    if wrong.any():
        raise LabelError(
            f"{name} has class id {segment_class[wrong][0]}; label space '{space.name}' has 0..{len(space) - 1} "
            f"and {VOID_CLASS_ID} for void"
        )
    return segment_class * SEGMENT_STRIDE + segment_instance, rank


def class_of(segment_id: NDArray[np.int64]) -> NDArray[np.int64]:
    """Class ids of segment ids; void is 255."""
    return segment_id // SEGMENT_STRIDE


def instance_of(segment_id: NDArray[np.int64]) -> NDArray[np.int64]:
    """Instance ids of segment ids."""
    return segment_id % SEGMENT_STRIDE


def _whole_numbers(values: NDArray[Any], name: str) -> NDArray[Any]:
    if values.dtype.kind not in "iu":
        raise ShapeError(f"{name} must contain integers but is {values.dtype}; give ids, not scores")
    if values.size and values.dtype.kind == "i" and values.min() < 0:
        raise LabelError(f"{name} has id {values.min()}; ids must not be negative")
    # numpy counts no uint64; ids fit into int64
    return values.reshape(-1).astype(np.int64) if values.dtype == np.uint64 else values.reshape(-1)


def _ranks(values: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    # counting is several times faster than sorting millions of pixels, as long as ids are small
    if values.size and values.max() < 2**24:
        present = np.bincount(values) > 0
        return np.flatnonzero(present).astype(np.int64), (np.cumsum(present) - 1)[values]
    ids, ranks = np.unique(values, return_inverse=True)
    return ids.astype(np.int64), ranks.reshape(-1)
