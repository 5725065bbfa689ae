# SPDX-License-Identifier: Apache-2.0
"""From class scores, centres and offsets to a panoptic map: the grouping of Panoptic-DeepLab.

Source: Cheng et al. 2020, section 3.2 (peaks by max-pooling, pixels to the nearest centre, majority vote of classes).
Everything runs on the device of the scores with fixed shapes: instances are padded to the configured top-k.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from monodvps_ros.config import GroupingConfig
from monodvps_ros.geometry import scale_area, scale_window
from monodvps_ros.geometry.resizing import resize_bilinear
from monodvps_ros.labels import LABEL_DIVISOR, VOID_PANOPTIC_ID, LabelSpace
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
    logits = resize_bilinear(output.class_logits.float(), size)[0]
    best = logits.max(0)
    if not with_probability:
        return best.indices, None
    return best.indices, (best.values - logits.logsumexp(0)).exp()


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
    is_thing = torch.from_numpy(labels.is_thing.copy()).to(semantic.device)
    thing = is_thing[semantic]
    if output.instances is not None:
        given = output.instances[0]
        instances = torch.where(thing & (given <= config.top_k), given, 0)
    else:
        instances = _assign(output, size, thing, config)
    least = scale_area(config.min_thing_area, size)
    classes, instances = _vote(instances, semantic, len(labels), config.top_k, least)
    stuff_area = torch.bincount(semantic.flatten(), minlength=len(labels))
    keep = ~is_thing & (stuff_area >= scale_area(config.min_stuff_area, size))
    stuff_code = torch.where(keep, torch.arange(len(labels), device=semantic.device) + config.top_k + 1, 0)
    codes = torch.where(thing, instances, stuff_code[semantic])
    return Grouping(codes, classes)


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
    heights = torch.where(peak & (rank == _window_max(rank, window)), heatmap, 0.0).flatten()
    count = min(config.top_k, heights.numel())
    order = torch.sort(heights, descending=True, stable=True)
    scores = functional.pad(order.values[:count], (0, config.top_k - count))
    places = functional.pad(order.indices[:count], (0, config.top_k - count))
    width = heatmap.shape[1]
    return scores, torch.stack((places // width, places % width), dim=1)


def _window_max(values: Tensor, window: int) -> Tensor:
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
    scores, places = find_centers(resize_bilinear(output.center_heatmap.float(), size)[0, 0], config)
    offsets = resize_bilinear(output.offsets_px.float(), size)[0].flatten(1)
    pixels = torch.arange(offsets.shape[1], device=thing.device)
    count = config.top_k
    if thing.device.type == "cpu":  # shapes may vary here, so that only what there is has to be looked at
        pixels, count = thing.flatten().nonzero()[:, 0], int((scores > 0).sum())
    instances = torch.zeros_like(thing, dtype=torch.int64)
    if count == 0 or pixels.numel() == 0:
        return instances
    # The origin is moved to the middle of the image: small numbers keep float32 exact to a fraction of a pixel.
    middle = torch.tensor(size, device=thing.device) / 2
    pointed = torch.stack((pixels // size[1], pixels % size[1]), 1) + offsets[:, pixels].T - middle
    centers = places[:count] - middle
    reach = torch.where(scores[:count] > 0, (centers**2).sum(1), torch.inf)
    nearest = torch.addmm(reach, pointed, centers.T, alpha=-2.0).argmin(1) + 1
    found = nearest * (scores[:1] > 0)
    instances.view(-1)[pixels] = torch.where(thing.flatten()[pixels], found, 0)
    return instances


def _vote(instances: Tensor, semantic: Tensor, classes: int, capacity: int, min_area: float) -> tuple[Tensor, Tensor]:
    """Return each instance's class by majority, -1 where it is absent or too small, and the map without these."""
    votes = torch.bincount((instances * classes + semantic).flatten(), minlength=(capacity + 1) * classes)
    votes = votes.view(capacity + 1, classes)
    areas = votes.sum(1)
    exists = (areas > 0) & (areas >= min_area)
    exists[0] = False
    winner = torch.where(exists, votes.argmax(1), -1)
    kept = torch.where(exists, torch.arange(capacity + 1, device=instances.device), 0)
    return winner[1:], kept[instances]
