# SPDX-License-Identifier: Apache-2.0
"""Maps and images at another size; pixel squares are aligned, as everywhere in the package."""

from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from monodvps_ros.shapes import check_shapes

#: OpenCV resizes pictures of up to four channels at full speed.
_MOST_CHANNELS = 4

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
    live = maps.is_cpu and torch.is_inference_mode_enabled()  # numpy takes in a seventh of the time, without gradients
    # Columns before rows where rows are repeated, so that whole rows are copied.
    for dim in (-2, -1) if size[0] < maps.shape[-2] else (-1, -2):
        wanted, given = size[dim], maps.shape[dim]
        if given == wanted:
            continue
        if live:
            maps = torch.from_numpy(maps.numpy().take(nearest_index(np.arange(wanted), wanted, given), dim))
        else:
            maps = maps.index_select(dim, nearest_index(torch.arange(wanted, device=maps.device), wanted, given))
    return maps


def resize_nearest_array(array: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Resize an array (H, W, ...) to the nearest pixel as `resize_nearest` does; contiguous."""
    rows, columns = (nearest_index(np.arange(wanted), wanted, array.shape[axis]) for axis, wanted in enumerate(size))
    return array.take(rows, 0).take(columns, 1)  # in an eighth of the time of one index of two axes


def resize_bilinear(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize floating maps (B, C, h, w) bilinearly; those of that size stay as they are.

    The corner-aligned resize of Panoptic-DeepLab's releases belongs to their inputs of odd size (1025 x 2049).
    """
    if tuple(maps.shape[-2:]) == size:
        return maps
    return functional.interpolate(maps, size, mode="bilinear", align_corners=False)


def resize_live(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize the maps of one frame, (1, C, h, w) float32, bilinearly and without gradients.

    On a CPU by OpenCV, in an eighth of the time of `resize_bilinear`, whose values they have to 1e-4 of the difference
    between neighbours.
    """
    if not maps.is_cpu or tuple(maps.shape[-2:]) == size:
        return resize_bilinear(maps, size)
    if maps.shape[1] > _MOST_CHANNELS:
        resized = torch.empty((1, maps.shape[1], *size))
        for given, wanted in zip(maps[0].numpy(), resized[0].numpy(), strict=True):
            cv2.resize(given, size[::-1], dst=wanted, interpolation=cv2.INTER_LINEAR)
        return resized
    picture = cv2.resize(maps[0].permute(1, 2, 0).numpy(), size[::-1], interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(picture.reshape(1, *size, maps.shape[1])).permute(0, 3, 1, 2)


def resize_image(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize pictures (B, C, H, W) bilinearly, averaging where they shrink.

    Returns:
        (B, C, *size): of uint8 on a CPU uint8, which takes a sixteenth of the memory traffic of float and is exact to
        half a grey level, elsewhere float32 in 0..255; of float the same type. Those of that size stay as they are.
    """
    if tuple(planes.shape[-2:]) == size:
        return planes
    if planes.dtype == torch.uint8 and planes.device.type != "cpu":
        planes = planes.float()
    return functional.interpolate(planes, size, mode="bilinear", align_corners=False, antialias=True)


def as_image_tensor(image: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """Turn an (H, W, 3) uint8 image into a (1, 3, H, W) float32 tensor in 0..1 on a device."""
    check_shapes(image=(image, "H W 3"))
    return torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None].float() / 255.0
