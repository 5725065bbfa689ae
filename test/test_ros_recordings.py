# SPDX-License-Identifier: Apache-2.0
"""One recording played to the node and given to `predict`: the same maps, whatever the lens."""

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")

from ros_bench import CAMERA, Bench, K, picture, wait_until

from monodvps_ros.cli.predict import predict
from monodvps_ros.config import NetworkConfig
from monodvps_ros.data import open_source
from monodvps_ros.data.bag import BagWriter, read_messages
from monodvps_ros.geometry.calibration import Calibration
from monodvps_ros.network import MonoDVPS, save_weights
from monodvps_ros.perception.loading import load_model
from monodvps_ros.ros.nodes.player import CameraPublisher

pytestmark = pytest.mark.ros

FRAMES, START_NS, STEP_NS = 3, 1_000_000_000_000, 100_000_000  # stamps of the bench
MAPS = ("depth/image", "panoptic/image", "panoptic/color", "semantic/image", "semantic/confidence", "points")
P = np.array([[110.0, 0, 80, 0], [0, 100, 48, 0], [0, 0, 1, 0]])
TURNED = np.array([[np.cos(0.02), 0, np.sin(0.02)], [0, 1, 0], [-np.sin(0.02), 0, np.cos(0.02)]])
LENSES = {
    "plumb_bob": (-0.4, 0.1, 0.001, -0.002, 0.0),
    "rational_polynomial": (-0.3, 0.1, 0.001, -0.002, 0.01, 0.02, -0.01, 0.005),
    "equidistant": (-0.05, 0.01, -0.003, 0.001, 0.0),
    "fisheye": (0.1, -0.02, 0.001, 0.0),
    "none": (),
}


def record(path, calibration, topic="image_raw"):
    with BagWriter(path) as writer:
        for index in range(FRAMES):
            stamp = START_NS + index * STEP_NS
            writer.calibration("/cam/camera_info", stamp, "camera_optical", calibration)
            writer.image(f"/cam/{topic}", stamp, "camera_optical", picture(40 + 4 * index), "rgb8")
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("weights") / "small.safetensors")
    widths = dict.fromkeys(("aspp_channels", "semantic_channels", "instance_channels", "head_channels"), 8)
    config = NetworkConfig(encoder="mobilenetv3_small_050", input_height=64, input_width=128, **widths)
    save_weights(path, MonoDVPS(config), {})
    return path


def predicted(path, out, weights, rectified="auto"):
    """Bytes of each map by topic and stamp, as `predict` writes them."""
    words = ["scale.mode=fixed", "grouping.min_stuff_area=0"]
    predict(path, out, words, weights=weights, format_="bag", rectified=rectified, device="cpu")
    topics = [f"/{topic}" for topic in (*MAPS, "depth/camera_info")]
    messages = {(topic[1:], m.header.stamp.nanosec): m for topic, _, _, m in read_messages(out / path.name, topics)}
    assert len(messages) == len(topics) * FRAMES
    return messages


def assert_the_node_agrees(path, messages, weights, rectified="auto"):
    with Bench(
        load=load_model, outputs=(*MAPS, "depth/camera_info"), pipeline__weights=weights, pipeline__device="cpu"
    ) as bench:
        player = CameraPublisher(bench.peer)
        wait_until(lambda: min(player.subscribers()) > 0, what="the player is heard")
        for index, sample in enumerate(open_source(path, rectified=rectified)):
            player.publish(sample.frame)
            for topic in MAPS:
                live = bench.wait_for(topic, index, timeout_s=30.0)
                assert bytes(live.data) == messages[topic, live.header.stamp.nanosec].data.tobytes(), topic
            info = bench.wait_for("depth/camera_info", index)
            assert list(info.p) == messages["depth/camera_info", info.header.stamp.nanosec].p.tolist()


@pytest.mark.parametrize("model", LENSES)
def test_node_and_predict_give_the_same_maps(tmp_path, weights, model):
    turn = TURNED if model == "plumb_bob" else np.eye(3)
    calibration = Calibration(*CAMERA, model, np.array(LENSES[model], float), np.reshape(K, (3, 3)), turn, P)
    path = record(tmp_path / "drive", calibration)
    messages = predicted(path, tmp_path / "out", weights)
    assert_the_node_agrees(path, messages, weights)
    left = predicted(path, tmp_path / "left", weights, "true")
    same = [left[key].data.tobytes() == messages[key].data.tobytes() for key in left if key[0] == "depth/image"]
    assert not any(same) if LENSES[model] else all(same)  # the lens does show


@pytest.mark.parametrize("rectified", ["auto", "false"])
def test_a_rectified_topic_played_under_another_name(tmp_path, weights, rectified):
    """The node hears it as `image`; what its name says, or the option, it learns from camera_info."""
    lens = np.array(LENSES["plumb_bob"])
    calibration = Calibration(*CAMERA, "plumb_bob", lens, np.reshape(K, (3, 3)), np.eye(3), P)
    path = record(tmp_path / "drive", calibration, topic="image_rect")
    messages = predicted(path, tmp_path / "out", weights, rectified)
    assert_the_node_agrees(path, messages, weights, rectified)
