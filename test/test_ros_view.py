# SPDX-License-Identifier: Apache-2.0
"""What `monodvps view` receives of a node over real DDS."""

import threading
from contextlib import closing
from itertools import islice

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")

from ros_bench import CAMERA, Bench, K, picture, stamp_of, wait_until

from monodvps_ros.data.message_fields import time_to_ns
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.ros.nodes.viewer import received_frames
from monodvps_ros.view.completion import completed
from monodvps_ros.view.messages import CAMERA_INFO, DEPTH, IMAGE, PANOPTIC, SEGMENTS

pytestmark = [pytest.mark.ros, pytest.mark.timeout(60)]

#: Frames that are sent at most until the viewer has had three.
LONGEST = 300


def test_frames_of_a_running_node():
    with Bench(outputs=()) as bench:
        frames = []

        def receive():
            with closing(received_frames(bench.namespace)) as received:
                frames.extend(islice(received, 3))

        thread = threading.Thread(target=receive)
        thread.start()
        topics = [f"{bench.namespace}/{topic}" for topic in (IMAGE, DEPTH, CAMERA_INFO, PANOPTIC, SEGMENTS)]
        wait_until(
            lambda: all(map(bench.node.count_subscribers, topics)) and bench.images.get_subscription_count() > 0,
            what="subscriptions",
        )
        for index in range(LONGEST):  # the first frames may go out before the viewer is found, or wait for an odometry
            bench.frame(index, picture(40 + index % 20))
            wait_until(lambda count=index + 1: bench.counts().processed >= count, what=f"frame {index}")
            thread.join(0.05)
            if not thread.is_alive():
                break
        assert len(frames) == 3
    sent = [time_to_ns(stamp_of(index)) for index in range(LONGEST)]
    assert [frame.stamp_ns for frame in frames] == sent[sent.index(frames[0].stamp_ns) :][:3]
    newest = completed(frames[-1], CITYSCAPES)
    np.testing.assert_array_equal(newest.image, picture(40 + sent.index(newest.stamp_ns) % 20))
    np.testing.assert_allclose(newest.intrinsics.ravel(), K)
    assert newest.panoptic.shape == newest.depth_m.shape == CAMERA
    (car,) = [segment for segment in newest.segments if segment.is_thing]
    assert (car.class_name, car.track_id) == ("car", 1)
    (box,) = newest.boxes
    assert box.segment is car and len(newest.cloud) == np.isfinite(newest.depth_m).sum()
