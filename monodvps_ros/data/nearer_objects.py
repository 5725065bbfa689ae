# SPDX-License-Identifier: Apache-2.0
"""Augmentation with objects near the camera, which recordings have few of: an object is copied to a nearer place.

An object at depth z that moves along the optical axis to z / s, on level ground, stays at its height: its image grows
by s about the principal point, contact with the ground included, and its depth shrinks by s. A step sideways moves the
image along the row. What it hides of itself is taken to stay the same.
"""

import dataclasses
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from monodvps_ros.labels import LABEL_DIVISOR, MAX_INSTANCE_ID, LabelSpace, decode_panoptic
from monodvps_ros.types import FrameTruth, Sample

#: Share of the image's pixels that an object covers at least before it is copied; smaller ones turn to blur.
_MIN_SHARE = 0.003
#: Share of its pixels with measured depth.
_MIN_MEASURED = 0.3
#: Least and greatest factor, and the least depth that an object is brought to, metres.
_FACTORS, _NEAREST_M = (1.4, 4.0), 2.0


def copy_nearer(sample: Sample, labels: LabelSpace, generator: np.random.Generator) -> Sample:
    """Copy one object of a frame to a random nearer place, in front of what is farther there.

    Args:
        sample: a frame with K, panoptic labels and depth in metres; others are returned unchanged, as are frames
            without an object that is large enough and whose depth is known.
        labels: what the panoptic ids mean.
        generator: source of chance.

    Returns:
        The frame with one more instance of the object's class, at 1/4 to 5/7 of its depth and at least 2 m away;
        without flow.
    """
    truth, intrinsics = sample.truth, sample.frame.intrinsics
    if truth.panoptic is None or truth.depth_m is None or intrinsics is None:
        return sample
    objects = _whole_objects(truth.panoptic, truth.depth_m, labels)
    if not objects:
        return sample
    panoptic_id, depth_m = objects[generator.integers(len(objects))]
    factor = float(np.exp(generator.uniform(*np.log([_FACTORS[0], min(_FACTORS[1], depth_m / _NEAREST_M)]))))
    is_object = truth.panoptic == panoptic_id
    matrix = _enlargement(is_object, intrinsics, factor, generator)

    def moved(values: NDArray[Any], interpolation: int) -> NDArray[Any]:
        size = values.shape[1::-1]
        return np.asarray(cv2.warpAffine(values, matrix, size, flags=interpolation, borderMode=cv2.BORDER_CONSTANT))

    mask = moved(is_object.astype(np.uint8), cv2.INTER_NEAREST) > 0
    nearer = (moved(truth.depth_m, cv2.INTER_NEAREST) / np.float32(factor)).astype(np.float32)
    known = np.where(np.isfinite(nearer), nearer, np.float32(depth_m / factor))
    in_front = mask & ~(truth.depth_m < known)  # where the depth behind is not known too
    if not in_front.any():
        return sample
    image = moved(sample.frame.image, cv2.INTER_LINEAR)
    return dataclasses.replace(
        sample,
        frame=dataclasses.replace(sample.frame, image=np.where(in_front[..., None], image, sample.frame.image)),
        truth=FrameTruth(
            panoptic=np.where(in_front, _free_id(truth.panoptic, panoptic_id), truth.panoptic).astype(np.uint16),
            depth_m=np.where(in_front, nearer, truth.depth_m),
            world_from_camera=truth.world_from_camera,
            panoptic_is_pseudo=truth.panoptic_is_pseudo,
        ),
    )


def _whole_objects(
    panoptic: NDArray[np.uint16], depth_m: NDArray[np.float32], labels: LabelSpace
) -> list[tuple[int, float]]:
    """Return panoptic id and median depth of the objects that may be copied."""
    objects = []
    for panoptic_id, pixels in zip(*np.unique(panoptic, return_counts=True), strict=True):
        class_id, instance = divmod(int(panoptic_id), LABEL_DIVISOR)
        if class_id not in labels.thing_ids or not instance or pixels < _MIN_SHARE * panoptic.size:
            continue
        depths = depth_m[panoptic == panoptic_id]
        depths = depths[np.isfinite(depths)]
        if depths.size >= _MIN_MEASURED * pixels and np.median(depths) > _FACTORS[0] * _NEAREST_M:
            objects.append((int(panoptic_id), float(np.median(depths))))
    return objects


def _enlargement(
    is_object: NDArray[np.bool_], intrinsics: NDArray[np.float64], factor: float, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return the (2, 3) matrix that moves an object: about the principal point, and to a random column.

    An object that a side of the image cuts off stays at that side, since what it cuts off is not known.
    """
    width = is_object.shape[1]
    columns = np.flatnonzero(is_object.any(0))
    left, right = (factor * (column - intrinsics[0, 2]) + intrinsics[0, 2] for column in (columns[0], columns[-1]))
    least, most = (left if columns[0] == 0 else -np.inf), (right if columns[-1] == width - 1 else np.inf)
    middle = generator.uniform(0.0, width)
    shift = middle - (left + right) / 2
    if np.isfinite(least):
        shift = min(shift, -least)
    if np.isfinite(most):
        shift = max(shift, width - 1 - most)
    offsets = (1.0 - factor) * intrinsics[:2, 2] + [shift, 0.0]
    return np.array([[factor, 0.0, offsets[0]], [0.0, factor, offsets[1]]])


def _free_id(panoptic: NDArray[np.uint16], panoptic_id: int) -> int:
    """Return an id of the same class that the frame does not have; of a class with 999 instances, the id itself."""
    class_id = panoptic_id // LABEL_DIVISOR
    classes, instances = decode_panoptic(panoptic)
    taken = set(np.unique(instances[classes == class_id]).tolist())
    free = next((n for n in range(1, MAX_INSTANCE_ID + 1) if n not in taken), panoptic_id % LABEL_DIVISOR)
    return class_id * LABEL_DIVISOR + free
