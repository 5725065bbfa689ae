# SPDX-License-Identifier: Apache-2.0
"""From class scores, centres and offsets to a panoptic map: the grouping of Panoptic-DeepLab.

Source: Cheng et al. 2020, section 3.2 (peaks by max-pooling, pixels to the nearest centre, majority vote of classes).
Everything runs on the device of the scores with fixed shapes: instances are padded to the configured top-k.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from monodvps_ros.config import GroupingConfig
from monodvps_ros.geometry import scale_area, scale_window
from monodvps_ros.geometry.resizing import resize_live
from monodvps_ros.labels import LABEL_DIVISOR, VOID_PANOPTIC_ID, LabelSpace
from monodvps_ros.perception import code_maps
from monodvps_ros.perception.code_maps import greatest, look_up, sums
from monodvps_ros.shapes import check_shapes
from monodvps_ros.types import NetworkOutput


@dataclass(frozen=True, eq=False)
class Grouping:
    """A panoptic map as codes: 0 void, 1..K instances in the order of their scores, K + 1 + c stuff of class c.

    Attributes:
        codes: (h, w) int64.
        instance_class: (K,) int64 class of each instance by majority vote; -1 where there is no such instance.
    """

    codes: Tensor
    instance_class: Tensor

    @property
    def capacity(self) -> int:
        """K, the number of instance codes, used or not."""
        return self.instance_class.shape[0]


def classify(
    output: NetworkOutput, size: tuple[int, int], with_probability: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Return the class of highest score of each pixel, and its probability.

    Args:
        output: of a batch of one; its scores may be smaller than `size`.
        size: (h, w) of the map to make.
        with_probability: also return the softmax of the winning score.

    Returns:
        (h, w) int64 class ids; and (h, w) float32 in 0..1, or None.
    """
    scores = output.class_logits.float()
    logits = resize_live(scores, size)[0]
    best, semantic = greatest(logits)
    if not with_probability:
        return semantic, None
    # The softmax of the greatest is 1 / sum(exp(score - greatest)); in place, where the scores are not the model's.
    below = torch.sub(logits, best, out=None if logits.data_ptr() == scores.data_ptr() else logits)
    if code_maps.follows_data(below):  # numpy's takes half the time of torch's
        np.exp(below.numpy(), out=below.numpy())
    else:
        below.exp_()
    return semantic, below.sum(0).reciprocal_()


def group(output: NetworkOutput, semantic: Tensor, labels: LabelSpace, config: GroupingConfig) -> Grouping:
    """Group one image's pixels into segments.

    Args:
        output: of a batch of one; its maps may be smaller than the map to make, its offsets are in that map's pixels.
        semantic: (h, w) int64 class ids from `classify`, at the network's input size.
        labels: the classes of the scores.
        config: thresholds; areas and the window are given for 1024 x 2048 and scaled to the map.

    Returns:
        The panoptic map as codes. Thing pixels with no centre in the image are void, as is stuff that is too small.

    Raises:
        ShapeError: the batch is not one, or the number of classes differs from the label space.
    """
    size = (semantic.shape[0], semantic.shape[1])
    check_shapes(
        class_logits=(output.class_logits, f"1 {len(labels)} h w"),
        center_heatmap=(output.center_heatmap, "1 1 a b"),
        offsets_px=(output.offsets_px, "1 2 a b"),
        instances=(output.instances, f"1 {size[0]} {size[1]}"),
    )
    is_thing = thing_table(labels, semantic.device)
    thing = look_up(is_thing, semantic)
    if output.instances is not None:
        given = output.instances[0]
        instances = torch.where(thing & (given <= config.top_k), given, 0)
    else:
        instances = _assign(output, size, thing, config)
    least = scale_area(config.min_thing_area, size)
    classes, kept = _vote(instances, semantic, len(labels), config.top_k, least)
    stuff_area = sums(semantic, len(labels))
    keep = ~is_thing & (stuff_area >= scale_area(config.min_stuff_area, size))
    stuff_code = torch.where(keep, torch.arange(len(labels), device=semantic.device) + config.top_k + 1, 0)
    # Of the two, one is 0: instances are 0 on stuff, and so is the code of a thing class.
    return Grouping(look_up(kept, instances).add_(look_up(stuff_code, semantic)), classes)


@cache
def thing_table(labels: LabelSpace, device: torch.device) -> Tensor:
    """Return (C,) bool on a device, true for things."""
    return torch.from_numpy(labels.is_thing.copy()).to(device)


def find_centers(heatmap: Tensor, config: GroupingConfig) -> tuple[Tensor, Tensor]:
    """Find the peaks of a centre heatmap.

    Args:
        heatmap: (h, w) float.
        config: a peak is at least `center_threshold` high and the highest in its window, `nms_kernel` scaled to the
            heatmap.

    Returns:
        Heights (K,), highest first, 0 where there are fewer than K peaks; and places (K, 2) int64 as (row, column).
        Of equals in one window, and of equals at the K-th place, the first in row order stays.
    """
    window = scale_window(config.nms_kernel, (heatmap.shape[0], heatmap.shape[1]))
    peak = (heatmap == _window_max(heatmap, window)) & (heatmap >= config.center_threshold)
    # A plateau has several highest pixels; ranks that fall in row order leave one of them. Exact up to 2^24 pixels.
    rank = torch.arange(heatmap.numel(), 0, -1, device=heatmap.device, dtype=torch.float32).view_as(heatmap)
    rank = torch.where(peak, rank, 0.0)
    first = (peak & (rank == _window_max(rank, window))).flatten()
    if code_maps.follows_data(heatmap):  # shapes may vary here, so that only peaks have to be sorted
        found = first.nonzero()[:, 0]
        heights = heatmap.flatten()[found]
    else:
        found = torch.arange(heatmap.numel(), device=heatmap.device)
        heights = torch.where(first, heatmap.flatten(), 0.0)
    order = torch.sort(heights, descending=True, stable=True)
    scores, best = order.values[: config.top_k], found[order.indices[: config.top_k]]
    padding = (0, config.top_k - len(scores))
    scores, places = functional.pad(scores, padding), functional.pad(best, padding)
    width = heatmap.shape[1]
    return scores, torch.stack((places // width, places % width), dim=1)


def _window_max(values: Tensor, window: int) -> Tensor:
    if code_maps.follows_data(values):  # OpenCV's time does not grow with the window
        return torch.from_numpy(cv2.dilate(values.numpy(), np.ones((window, window), np.uint8)))
    return functional.max_pool2d(values[None, None], window, stride=1, padding=window // 2)[0, 0]


def panoptic_without_tracks(grouping: Grouping) -> Tensor:
    """Number the instances of one image from 1 within each class, strongest first.

    Returns:
        (h, w) int64 panoptic ids; void is 65535. What is beyond 999 instances of a class is void.
    """
    classes = grouping.instance_class
    earlier = (classes[None] == classes[:, None]).tril()  # instance j <= i of the same class
    rank = earlier.sum(1)
    known = (classes >= 0) & (rank < LABEL_DIVISOR)
    ids = torch.where(known, classes * LABEL_DIVISOR + rank, VOID_PANOPTIC_ID)
    return code_table(grouping, ids)[grouping.codes]


def code_table(grouping: Grouping, instance_values: Tensor) -> Tensor:
    """Return panoptic ids by code: void, the given value of each instance (K,), and class * 1000 for stuff."""
    void = instance_values.new_tensor([VOID_PANOPTIC_ID])
    stuff = torch.arange(_MOST_CLASSES, device=void.device, dtype=void.dtype) * LABEL_DIVISOR
    return torch.cat((void, instance_values, stuff))


_MOST_CLASSES = VOID_PANOPTIC_ID // LABEL_DIVISOR


def _assign(output: NetworkOutput, size: tuple[int, int], thing: Tensor, config: GroupingConfig) -> Tensor:
    """Assign thing pixels to the centre nearest to where their offset points: 1.. by rank of the peak, 0 for none."""
    assert output.center_heatmap is not None and output.offsets_px is not None
    scores, places = find_centers(resize_live(output.center_heatmap.float(), size)[0, 0], config)
    offsets = resize_live(output.offsets_px.float(), size)[0]
    pixels = torch.arange(thing.numel(), device=thing.device)
    count = config.top_k
    if code_maps.follows_data(thing):  # as above: only what there is has to be looked at
        pixels, count = thing.flatten().nonzero()[:, 0], int((scores > 0).sum())
    instances = torch.zeros_like(thing, dtype=torch.int64)
    if count == 0 or pixels.numel() == 0:
        return instances
    # The origin is moved to the middle of the image: small numbers keep float32 exact to a fraction of a pixel.
    row = pixels.div(size[1], rounding_mode="floor")
    pointed = torch.stack(
        [
            part.flatten().index_select(0, pixels) + (place - length / 2)
            for part, place, length in zip(offsets, (row, pixels - row * size[1]), size, strict=True)
        ]
    )
    centers = places[:count] - torch.tensor([length / 2 for length in size], device=thing.device)
    reach = torch.where(scores[:count] > 0, (centers**2).sum(1), torch.inf)
    # |center - pointed|^2 is reach - 2 center . pointed and what is the same for all centres: the least is the nearest.
    nearest = greatest(torch.addmm(reach[:, None], centers, pointed, beta=-1.0, alpha=2.0))[1] + 1
    found = nearest * (scores[:1] > 0)
    instances.view(-1)[pixels] = torch.where(thing.flatten().index_select(0, pixels), found, 0)
    return instances


def _vote(instances: Tensor, semantic: Tensor, classes: int, capacity: int, min_area: float) -> tuple[Tensor, Tensor]:
    """Return each instance's class (K,) by majority, -1 where it is absent or too small; and (K + 1,) codes to keep."""
    votes = sums(instances * classes + semantic, (capacity + 1) * classes).view(capacity + 1, classes)
    areas = votes.sum(1)
    exists = (areas > 0) & (areas >= min_area)
    exists[0] = False
    winner = torch.where(exists, votes.argmax(1), -1)
    return winner[1:], torch.where(exists, torch.arange(capacity + 1, device=instances.device), 0)
