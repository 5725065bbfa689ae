# SPDX-License-Identifier: Apache-2.0
"""The script behind the figures of docs/performance.md."""

import sys

import measure_performance
import performance_peers
import pytest
import torch
from in_turn import in_turn

from monodvps_ros.config import GroupingConfig
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.perception.grouping import classify, group


def test_calls_take_turns_and_two_rounds_are_not_counted():
    calls = []
    found = in_turn({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert calls == ["a", "b"] * 5
    assert set(found) == {"a", "b"} and all(value >= 0 for value in found.values())


@pytest.mark.parametrize("count", [1, 10, 100])
def test_streets_have_as_many_instances_as_wanted(count):
    output = measure_performance.street_of(count)
    semantic, _ = classify(output, (192, 640))
    found = group(output, semantic, CITYSCAPES, GroupingConfig())
    assert int((found.instance_class == CITYSCAPES.class_id("car")).sum()) == count
    codes = found.codes.unique()
    assert int(((codes > 0) & (codes <= found.capacity)).sum()) == count


def test_their_grouping_gets_the_same_maps(monkeypatch):
    """The other implementation is given all 20 peaks, at places where the class is car."""
    output = performance_peers.street_output((192, 640))
    semantic, _ = classify(output, (192, 640))

    class Peer:
        @staticmethod
        def get_panoptic_segmentation(classes, heatmap, offsets, things, *_, threshold, nms_kernel, top_k):
            pooled = torch.nn.functional.max_pool2d(heatmap, nms_kernel, 1, nms_kernel // 2)
            peaks = ((heatmap == pooled) & (heatmap > threshold))[0, 0]
            return int(peaks.sum()), classes[0][peaks].unique().tolist(), things, tuple(offsets.shape)

    found = performance_peers._group_their_way(Peer, output, semantic)
    assert found == (20, [CITYSCAPES.class_id("car")], list(range(11, 19)), (1, 2, 192, 640))


def test_scripts_are_imported_without_our_arguments(tmp_path, monkeypatch):
    (tmp_path / "reads_arguments.py").write_text("import sys\nFOUND = sys.argv[1:]\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "argv", ["script", "--out", "x"])
    assert performance_peers._script("reads_arguments").FOUND == []
    assert sys.argv == ["script", "--out", "x"]
    assert performance_peers.is_there("reads_arguments")
    assert not performance_peers.is_there("no_such_package.module")


def test_curves_are_drawn_and_alike_each_time(tmp_path):
    growth = {"instances": {"grouping": {"1": 2.0, "10": 3.0}}, "points": {"computed": {"1000": 0.5, "4000": 1.5}}}
    for name in ("a.svg", "b.svg"):
        measure_performance.draw(growth, tmp_path / name)
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text()
    assert all(word in text for word in ("instances", "grouping", "points", "computed", "ms of CPU"))
