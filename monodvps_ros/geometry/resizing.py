# SPDX-License-Identifier: Apache-2.0
"""Maps and images at another size; pixel squares are aligned, as everywhere in the package."""

from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from monodvps_ros.shapes import check_shapes

Indices = TypeVar("Indices", NDArray[np.int64], Tensor)


def nearest_index(wanted_index: Indices, wanted: int, given: int) -> Indices:
    """Return which of the given rows (or columns) each wanted one shows.

    Args:
        wanted_index: indices in 0..wanted - 1.
        wanted: number of rows after resizing.
        given: number of rows before.

    Returns:
        Index of the row whose square holds the wanted one's centre; between two rows, the greater one. Exact.
    """
    return (wanted_index * 2 + 1) * given // (2 * wanted)


def resize_nearest(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps of any dtype to the nearest pixel.

    Args:
        maps: (..., H, W).
        size: height and width wanted.

    Returns:
        (..., *size), of the same dtype; the argument itself where it has that size.
    """
    for dim, wanted in zip((-2, -1), size, strict=True):
        if maps.shape[dim] != wanted:
            index = nearest_index(torch.arange(wanted, device=maps.device), wanted, maps.shape[dim])
            maps = maps.index_select(dim, index)
    return maps


def resize_nearest_array(array: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Resize an array (H, W, ...) to the nearest pixel as `resize_nearest` does; contiguous."""
    rows, columns = (nearest_index(np.arange(wanted), wanted, array.shape[axis]) for axis, wanted in enumerate(size))
    return np.ascontiguousarray(array[rows[:, None], columns])


def resize_bilinear(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize floating maps (B, C, h, w) bilinearly; those of that size stay as they are.

    The corner-aligned resize of Panoptic-DeepLab's releases belongs to their inputs of odd size (1025 x 2049).
    """
    if tuple(maps.shape[-2:]) == size:
        return maps
    return functional.interpolate(maps, size, mode="bilinear", align_corners=False)


def resize_image(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize pictures (B, C, H, W) uint8 bilinearly, averaging where they shrink.

    Returns:
        (B, C, *size): uint8 on a CPU, where that takes a sixteenth of the memory traffic of float and is exact to half
        a grey level; float32 in 0..255 elsewhere. Those of that size stay as they are.
    """
    if tuple(planes.shape[-2:]) == size:
        return planes
    if planes.device.type != "cpu":
        planes = planes.float()
    return functional.interpolate(planes, size, mode="bilinear", align_corners=False, antialias=True)


def as_image_tensor(image: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """Turn an (H, W, 3) uint8 image into a (1, 3, H, W) float32 tensor in 0..1 on a device."""
    check_shapes(image=(image, "H W 3"))
    return torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None].float() / 255.0
