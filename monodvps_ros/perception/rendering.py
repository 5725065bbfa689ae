# SPDX-License-Identifier: Apache-2.0
"""Panoptic maps in colour: the class's colour, instances in shades of it, light contours."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monodvps_ros.labels import VOID_CLASS_ID, LabelSpace
from monodvps_ros.perception import code_maps

#: Contours between segments: white, as a word of red, green and blue.
CONTOUR = 0x00FFFFFF
#: How far a shade departs from its class's colour, of 255.
SHADE = 70.0
#: The golden ratio's fractional part: successive multiples spread evenly over 0..1 (Knuth, TAOCP 6.4).
GOLDEN = 0.6180339887


def instance_colors(
    class_id: NDArray[np.int64], instance_id: NDArray[np.int64], labels: LabelSpace
) -> NDArray[np.uint8]:
    """Colours of segments, (N, 3) uint8 red, green, blue: shades of the colours of their classes.

    Class ids are (N,), 255 for void, which is black; instance ids are (N,), 0 for stuff. The same id always has the
    same shade.
    """
    palette = np.zeros((256, 3), np.float64)
    palette[: len(labels)] = labels.colors
    base = palette[np.where((class_id >= 0) & (class_id < len(labels)), class_id, VOID_CLASS_ID)]
    phases = np.stack([(instance_id * GOLDEN * step) % 1.0 for step in (1.0, 2.0, 3.0)], 1)
    shade = np.where(instance_id[:, None] > 0, SHADE * (2.0 * phases - 0.6), 0.0)
    return np.clip(base + shade, 0, 255).astype(np.uint8)


def draw_panoptic(codes: Tensor, colors: Tensor) -> Tensor:
    """Colour a code map and draw contours where a pixel differs from the one to its right or below.

    Codes are (H, W) integers; `colors` (S, 3) uint8 gives the colour of each. Returns (H, W, 3) uint8.
    """
    # One 32-bit word a pixel (red, green, blue, nothing in memory order): a third of the gathers of three bytes.
    words = torch.cat((colors, torch.zeros_like(colors[:, :1])), 1).view(torch.int32).flatten()
    picture = words.index_select(0, codes.flatten()).view_as(codes)
    edge = torch.zeros_like(codes, dtype=torch.bool)
    torch.ne(codes[:, :-1], codes[:, 1:], out=edge[:, :-1])
    edge[:-1] |= codes[:-1] != codes[1:]
    picture.masked_fill_(edge, CONTOUR)
    bytes_of = picture.view(torch.uint8).view(*codes.shape, 4)
    if code_maps.follows_data(bytes_of):  # an eighth of the time of a strided copy
        return torch.from_numpy(cv2.cvtColor(bytes_of.numpy(), cv2.COLOR_RGBA2RGB))
    return bytes_of[..., :3].contiguous()
