# SPDX-License-Identifier: Apache-2.0
"""A network that gives NaN, in the node over real DDS: what is published of such images, and what stays."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")

from ros_bench import CAMERA, NETWORK, Bench, BoxModel, wait_until

from monodvps_ros.outputs import POINT_DTYPE
from monodvps_ros.ros.management import diagnostics

pytestmark = [pytest.mark.ros, pytest.mark.timeout(60)]

OUTPUTS = ("depth/image", "points", "panoptic/image", "panoptic/segments", "semantic/image", "semantic/confidence")


class BrokenModel(BoxModel):
    """Gives NaN for class scores in the right half at its second image, everywhere at its third and fourth."""

    def infer(self, image, memory=()):
        output = super().infer(image, memory)
        begin = {2: NETWORK[1] // 2, 3: 0, 4: 0}.get(self.calls)
        if begin is None:
            return output
        scores = output.class_logits.clone()
        scores[..., begin:] = float("nan")
        return replace(output, class_logits=scores)


def pixels(message, dtype):
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width)


def car_of(segments):
    return [segment.track_id for segment in segments.segments if segment.is_thing]


def test_nothing_false_is_published_and_ids_persist():
    with Bench(BrokenModel(), outputs=OUTPUTS) as bench:
        for index in range(6):
            bench.frame(index)
            void = pixels(bench.wait_for("panoptic/image", index), np.uint16) == 65535
            depth_m = pixels(bench.wait_for("depth/image", index), np.float32)
            points = pixels(bench.wait_for("points", index), POINT_DTYPE)
            classes = pixels(bench.wait_for("semantic/image", index), np.uint8)
            confidence = pixels(bench.wait_for("semantic/confidence", index), np.uint8)
            segments = bench.wait_for("panoptic/segments", index)
            blind = np.zeros(CAMERA, bool)
            blind[:, {1: CAMERA[1] // 2, 2: 0, 3: 0}.get(index, CAMERA[1]) :] = True
            assert void[blind].all() and not void[:, : CAMERA[1] // 2 - 2][~blind[:, : CAMERA[1] // 2 - 2]].any()
            assert np.isnan(depth_m[blind]).all() and np.isnan(points["z"][blind[::2, ::2]]).all()
            assert (classes[blind] == 255).all() and (confidence[blind] == 0).all()
            assert car_of(segments) == ([] if index in (2, 3) else [1])
            if index == 3:
                bench.wait_for_status(diagnostics.ERROR, "the network gave NaN or infinite class scores (155648)")
        wait_until(lambda: bench.camera()[diagnostics.NOT_FINITE] == "3", what=bench.camera)
        counts = bench.counts()
        assert (counts.received, counts.processed, counts.not_finite, counts.dropped_total) == (6, 6, 3, 0)
