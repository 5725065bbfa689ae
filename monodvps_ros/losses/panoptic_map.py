# SPDX-License-Identifier: Apache-2.0
"""Panoptic maps as tensors: their layout, their edges, their size.

A map is a tensor of an integer dtype, (B, H, W) or (B, 1, H, W); 65535 is void.
"""

import torch
from torch import Tensor

from monodvps_ros.errors import ShapeError
from monodvps_ros.labels import LABEL_DIVISOR, VOID_PANOPTIC_ID


def with_channel(map_: Tensor, name: str = "panoptic") -> Tensor:
    """Return a map (B, H, W) or (B, 1, H, W) as (B, 1, H, W).

    Args:
        map_: the map.
        name: what error messages call it.

    Raises:
        ShapeError: the map has neither layout.
    """
    if map_.dim() == 3:
        return map_[:, None]
    if map_.dim() != 4 or map_.shape[1] != 1:
        raise ShapeError(f"{name} is {tuple(map_.shape)} but must be (B, H, W) or (B, 1, H, W)")
    return map_


def panoptic_with_channel(panoptic: Tensor, name: str = "panoptic") -> Tensor:
    """Return a panoptic map as (B, 1, H, W).

    Args:
        panoptic: (B, H, W) or (B, 1, H, W), of an integer dtype.
        name: what error messages call it.

    Raises:
        ShapeError: the map has neither layout, or its dtype is not an integer one.
    """
    if panoptic.is_floating_point() or panoptic.dtype == torch.bool:
        raise ShapeError(f"{name} is {panoptic.dtype}; panoptic ids must be integers, for example torch.int32")
    return with_channel(panoptic, name)


def panoptic_edges(panoptic: Tensor) -> tuple[Tensor, Tensor]:
    """Tell which neighbouring pixels belong to different segments.

    A pair is an edge where the two panoptic ids differ and neither is void.

    Args:
        panoptic: (B, 1, H, W), integer.

    Returns:
        Horizontal pairs (B, 1, H, W - 1) and vertical pairs (B, 1, H - 1, W), bool.

    Source: Eq. 6 of Petrovai & Nedevschi; the rule for void is ours.
    """
    known = panoptic != VOID_PANOPTIC_ID
    horizontal = panoptic[..., 1:] != panoptic[..., :-1]
    vertical = panoptic[..., 1:, :] != panoptic[..., :-1, :]
    return (
        horizontal & known[..., 1:] & known[..., :-1],
        vertical & known[..., 1:, :] & known[..., :-1, :],
    )


def thing_pixels(panoptic: Tensor, thing_ids: tuple[int, ...]) -> Tensor:
    """Tell which pixels of a panoptic map belong to classes of things; bool, of the same shape.

    Args:
        panoptic: panoptic ids of any shape, integer.
        thing_ids: class ids of things.
    """
    table = torch.zeros(VOID_PANOPTIC_ID // LABEL_DIVISOR + 1, dtype=torch.bool)
    table[list(thing_ids)] = True
    return table.to(panoptic.device)[panoptic.long() // LABEL_DIVISOR]


def instance_pixels(panoptic: Tensor, thing_ids: tuple[int, ...]) -> Tensor:
    """Tell which pixels belong to things that have an instance id; bool, of the same shape.

    Args:
        panoptic: panoptic ids of any shape, integer.
        thing_ids: class ids of things.
    """
    return thing_pixels(panoptic, thing_ids) & (panoptic % LABEL_DIVISOR > 0)
