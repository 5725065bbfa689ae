# SPDX-License-Identifier: Apache-2.0
"""What Panoptic-DeepLab is trained towards: centre heatmap, offsets to the centres, weights.

Source: Cheng et al. 2020, sections 3.2 and 3.3; details that the paper leaves open as in the authors' code: the centre
is the mean of a mask's coordinates, the Gaussian ends at three standard deviations, overlapping ones take the maximum.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.errors import DataError
from monodvps_ros.labels import LABEL_DIVISOR, VOID_PANOPTIC_ID, LabelSpace
from monodvps_ros.shapes import check_shapes

#: Kinds of panoptic ids; left out are void, and things without an instance id.
_STUFF, _INSTANCE, _LEFT_OUT, _UNKNOWN = range(4)


@dataclass(frozen=True, eq=False, slots=True)
class PanopticTargets:
    """Targets of one image.

    Attributes:
        centers: (1, H, W) float32, 1 at the pixel nearest to an instance's centre, a Gaussian around it.
        center_weights: (1, H, W) bool, false on void and on things without an instance id (crowds).
        offsets_px: (2, H, W) float32 (dy, dx) from a pixel to the centre of its instance; 0 elsewhere.
        offset_weights: (1, H, W) bool, true on instances.
    """

    centers: NDArray[np.float32]
    center_weights: NDArray[np.bool_]
    offsets_px: NDArray[np.float32]
    offset_weights: NDArray[np.bool_]


def panoptic_targets(panoptic: NDArray[np.uint16], labels: LabelSpace, sigma_px: float = 8.0) -> PanopticTargets:
    """Make the targets of an image.

    Args:
        panoptic: (H, W) uint16 panoptic ids; 65535 is void.
        labels: says which classes are things.
        sigma_px: standard deviation of the Gaussian, above 0; 8 px is the paper's for 1025 x 2049 images.

    Returns:
        Targets of the same size.

    Raises:
        ShapeError: the map has not two axes.
        DataError: `sigma_px` is not above 0, or a class id is not of the label space.
    """
    sizes = check_shapes(panoptic=(panoptic, "H W"))
    if not sigma_px > 0:
        raise DataError(f"sigma_px is {sigma_px}; it must be above 0")
    size = height, width = sizes["H"], sizes["W"]
    kinds = _kinds(labels).take(panoptic)
    if (kinds == _UNKNOWN).any():
        wrong = panoptic[kinds == _UNKNOWN].min()
        raise DataError(
            f"panoptic id {wrong} is of class {wrong // LABEL_DIVISOR}, but '{labels.name}' has "
            f"{len(labels)} classes; choose the label space of the data"
        )
    on_instance = kinds == _INSTANCE
    pixels = np.flatnonzero(on_instance)  # of one axis: faster than of two
    rows, columns = np.divmod(pixels.astype(np.int32), width)
    ids, of_pixel = _numbered(panoptic.ravel().take(pixels))
    area = np.bincount(of_pixel, minlength=len(ids))
    center_y = np.bincount(of_pixel, rows, len(ids)) / area
    center_x = np.bincount(of_pixel, columns, len(ids)) / area
    offsets = np.zeros((2, height * width), np.float32)
    offsets[0, pixels] = center_y.take(of_pixel) - rows
    offsets[1, pixels] = center_x.take(of_pixel) - columns
    return PanopticTargets(
        centers=_heatmap(size, center_y, center_x, sigma_px)[None],
        center_weights=(kinds != _LEFT_OUT)[None],
        offsets_px=offsets.reshape(2, height, width),
        offset_weights=on_instance[None],
    )


@lru_cache(maxsize=4)
def _kinds(labels: LabelSpace) -> NDArray[np.uint8]:
    """Return what each panoptic id is: (65536,)."""
    ids = np.arange(VOID_PANOPTIC_ID + 1)
    classes, instances = np.divmod(ids, LABEL_DIVISOR)
    thing = labels.is_thing.take(classes, mode="clip")
    kinds = np.select(
        [classes >= len(labels), thing & (instances > 0), thing], [_UNKNOWN, _INSTANCE, _LEFT_OUT], _STUFF
    )
    kinds[VOID_PANOPTIC_ID] = _LEFT_OUT
    return kinds.astype(np.uint8)


def _numbered(values: NDArray[np.uint16]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the values that occur, ascending, and for each value its place among them; sorting takes longer."""
    found = np.flatnonzero(np.bincount(values, minlength=VOID_PANOPTIC_ID + 1))
    place = np.zeros(VOID_PANOPTIC_ID + 1, np.intp)
    place[found] = np.arange(len(found))
    return found, place.take(values)


def _heatmap(
    size: tuple[int, int], center_y: NDArray[np.float64], center_x: NDArray[np.float64], sigma_px: float
) -> NDArray[np.float32]:
    """Draw Gaussians around the pixels nearest to the centres, each within a window of three deviations."""
    heatmap = np.zeros(size, np.float32)
    reach = int(np.ceil(3 * sigma_px)) + 1
    fall = np.exp(-np.square(np.arange(-reach, reach + 1)) / (2 * sigma_px**2))
    window = np.outer(fall, fall).astype(np.float32)
    for y, x in zip(np.rint(center_y).astype(int), np.rint(center_x).astype(int), strict=True):
        top, left = max(0, y - reach), max(0, x - reach)
        bottom, right = min(size[0], y + reach + 1), min(size[1], x + reach + 1)
        part = window[top - y + reach : bottom - y + reach, left - x + reach : right - x + reach]
        np.maximum(heatmap[top:bottom, left:right], part, out=heatmap[top:bottom, left:right])
    return heatmap
