# SPDX-License-Identifier: Apache-2.0
"""Grouping: peaks, nearest centres, majority votes, areas, and a slow loop over the same rules."""

import dataclasses

import numpy as np
import pytest
import torch

from monodvps_ros.config import GroupingConfig
from monodvps_ros.errors import ShapeError
from monodvps_ros.labels import CITYSCAPES, VOID_PANOPTIC_ID
from monodvps_ros.perception import code_maps
from monodvps_ros.perception.grouping import classify, find_centers, group, panoptic_without_tracks
from monodvps_ros.types import NetworkOutput

ROAD, PERSON, CAR, TRUCK = (CITYSCAPES.class_id(name) for name in ("road", "person", "car", "truck"))
CONFIG = GroupingConfig(top_k=4, nms_kernel=3, min_stuff_area=0, center_threshold=0.1)


def output_of(classes, heatmap, offsets=None):
    logits = torch.nn.functional.one_hot(classes, 19).permute(2, 0, 1)[None].float() * 5.0
    offsets = torch.zeros(1, 2, *classes.shape) if offsets is None else offsets
    return NetworkOutput(logits, heatmap[None, None], offsets, disparities=(torch.zeros(1, 1, *classes.shape),))


def run(output, config=CONFIG):
    semantic, _ = classify(output, tuple(output.class_logits.shape[-2:]))
    return group(output, semantic, CITYSCAPES, config)


@pytest.mark.parametrize("count", [1, 19, 300])
def test_the_greatest_is_the_first_of_equals(count):
    maps = torch.randint(0, 5, (count, 6, 7), generator=torch.Generator().manual_seed(count)).float()
    maps[:, 0, 0] = torch.nan
    values, indices = code_maps.greatest(maps)
    assert values[0, 0].isnan() and 0 <= indices[0, 0] < count
    for row, column in list(np.ndindex(6, 7))[1:]:
        column_values = maps[:, row, column].tolist()
        assert values[row, column] == max(column_values)
        assert indices[row, column] == column_values.index(max(column_values))


def test_a_peak_at_the_threshold_counts_and_one_below_does_not():
    heatmap = torch.zeros(3, 8)
    heatmap[1, 1], heatmap[1, 6] = 0.1, 0.0999
    scores, places = find_centers(heatmap, CONFIG)
    assert scores.tolist() == pytest.approx([0.1, 0, 0, 0])
    assert places[0].tolist() == [1, 1]


def test_peaks_come_highest_first_and_end_at_top_k():
    heatmap = torch.zeros(1, 20)
    for place, height in ((0, 0.5), (4, 0.9), (8, 0.7), (12, 0.6), (16, 0.5)):
        heatmap[0, place] = height
    scores, places = find_centers(heatmap, CONFIG)
    assert places[:, 1].tolist() == [4, 8, 12, 0]  # of the two at 0.5 the first in row order
    assert scores.tolist() == pytest.approx([0.9, 0.7, 0.6, 0.5])


def test_a_plateau_is_one_centre():
    heatmap = torch.zeros(5, 5)
    heatmap[2:4, 2:4] = 0.8
    scores, places = find_centers(heatmap, CONFIG)
    assert (scores > 0).sum() == 1
    assert places[0].tolist() == [2, 2]


def test_pixels_go_to_the_nearest_centre_and_take_the_majority_class():
    classes = torch.full((4, 8), CAR)
    classes[0] = ROAD
    classes[1, :2] = TRUCK  # two of the left car's twelve pixels
    heatmap = torch.zeros(4, 8)
    heatmap[2, 1], heatmap[2, 6] = 0.9, 0.8
    grouping = run(output_of(classes, heatmap))
    assert grouping.instance_class.tolist() == [CAR, CAR, -1, -1]
    assert torch.bincount(grouping.codes.flatten(), minlength=5)[1:5].tolist() == [12, 12, 0, 0]
    expected = torch.tensor([[ROAD * 1000] * 8] + [[CAR * 1000 + 1] * 4 + [CAR * 1000 + 2] * 4] * 3)
    assert torch.equal(panoptic_without_tracks(grouping), expected)


def test_offsets_decide_not_places():
    classes = torch.full((1, 6), PERSON)
    heatmap = torch.zeros(1, 6)
    heatmap[0, 0], heatmap[0, 5] = 0.9, 0.8
    offsets = torch.zeros(1, 2, 1, 6)
    offsets[0, 1, 0] = torch.tensor([5.0, 4, 3, -3, -4, -5])  # each half points to the other end
    codes = run(output_of(classes, heatmap, offsets)).codes
    assert codes.tolist() == [[2, 2, 2, 1, 1, 1]]


def test_things_without_a_centre_and_small_stuff_are_void():
    classes = torch.full((4, 4), ROAD)
    classes[0, 0] = CAR
    classes[3, 3] = CITYSCAPES.class_id("sky")
    config = dataclasses.replace(CONFIG, min_stuff_area=2048 * 1024 // 16 * 2)  # two pixels of this map
    panoptic = panoptic_without_tracks(run(output_of(classes, torch.zeros(4, 4)), config))
    assert panoptic[0, 0] == VOID_PANOPTIC_ID
    assert panoptic[3, 3] == VOID_PANOPTIC_ID
    assert (panoptic == ROAD * 1000).sum() == 14


def test_small_instances_are_void_at_the_limit_kept():
    classes = torch.full((4, 4), ROAD)
    classes[0, :2] = CAR
    heatmap = torch.zeros(4, 4)
    heatmap[0, 0] = 1.0
    two_pixels = 2048 * 1024 // 16 * 2
    kept = run(output_of(classes, heatmap), dataclasses.replace(CONFIG, min_thing_area=two_pixels))
    gone = run(output_of(classes, heatmap), dataclasses.replace(CONFIG, min_thing_area=two_pixels + 1))
    assert kept.instance_class[0] == CAR and (kept.codes == 1).sum() == 2
    assert (gone.instance_class == -1).all() and (gone.codes == 0).sum() == 2


def test_instances_may_be_given_instead_of_centres():
    classes = torch.full((2, 4), CAR)
    classes[0] = ROAD
    given = torch.tensor([[[1, 1, 1, 1], [0, 2, 2, 3]]])
    logits = output_of(classes, torch.zeros(2, 4)).class_logits
    output = NetworkOutput(logits, instances=given, depth_m=torch.ones(1, 1, 2, 4))
    grouping = run(output)
    assert grouping.codes[1].tolist() == [0, 2, 2, 3]  # instance ids on stuff pixels do not count
    assert grouping.instance_class.tolist() == [-1, CAR, CAR, -1]


def test_the_probability_is_the_softmax_of_the_winner():
    logits = torch.randn(1, 19, 3, 5, generator=torch.Generator().manual_seed(0))
    output = dataclasses.replace(
        output_of(torch.zeros(3, 5, dtype=torch.int64), torch.zeros(3, 5)), class_logits=logits
    )
    semantic, probability = classify(output, (3, 5), with_probability=True)
    assert torch.equal(semantic, logits[0].argmax(0))
    assert torch.allclose(probability, logits[0].softmax(0).amax(0), atol=1e-6)


def test_a_slow_loop_agrees_on_random_maps():
    generator = torch.Generator().manual_seed(3)
    classes = torch.randint(0, 19, (12, 16), generator=generator)
    heatmap = torch.rand(12, 16, generator=generator)
    offsets = torch.randn(1, 2, 12, 16, generator=generator) * 4
    config = GroupingConfig(top_k=6, nms_kernel=5, center_threshold=0.3, min_stuff_area=0)
    grouping = run(output_of(classes, heatmap, offsets), config)
    peaks = []
    for y in range(12):
        for x in range(16):
            window = heatmap[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
            if heatmap[y, x] >= 0.3 and heatmap[y, x] == window.max():
                peaks.append((-float(heatmap[y, x]), y, x))
    peaks = sorted(peaks)[:6]
    for y in range(12):
        for x in range(16):
            if not CITYSCAPES.is_thing[classes[y, x]]:
                assert grouping.codes[y, x] == 7 + classes[y, x]
                continue
            to = y + float(offsets[0, 0, y, x]), x + float(offsets[0, 1, y, x])
            distances = [(to[0] - peak[1]) ** 2 + (to[1] - peak[2]) ** 2 for peak in peaks]
            assert grouping.codes[y, x] == 1 + distances.index(min(distances))


def test_a_batch_or_other_classes_are_refused_with_the_shape():
    output = output_of(torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, 4))
    with pytest.raises(ShapeError, match=r"class_logits is \(1, 18, 2, 4\)"):
        group(
            dataclasses.replace(output, class_logits=output.class_logits[:, 1:]),
            torch.zeros(2, 4, dtype=torch.int64),
            CITYSCAPES,
            CONFIG,
        )
