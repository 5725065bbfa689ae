# SPDX-License-Identifier: Apache-2.0
"""The launch files, with the real launch and launch_ros where these are installed."""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny import DEPTH_ALONE

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")
pytest.importorskip("launch")
pytest.importorskip("launch_ros")

import rclpy
from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

import launch
from monodvps_ros.config import SceneConfig
from monodvps_ros.config.launch_cameras import LaunchCamera
from monodvps_ros.data.bag import BagReader
from monodvps_ros.errors import ConfigError
from monodvps_ros.msg import TrainingProgress
from monodvps_ros.outputs import RECORDED_TOPICS, SCALE_TOPIC
from monodvps_ros.scenes import Drive, write_bag

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]

try:
    SHARE = Path(get_package_share_directory("monodvps_ros"))
except PackageNotFoundError:
    pytest.skip("monodvps_ros is not built", allow_module_level=True)

RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
service = LaunchService()
arguments = [word.split(":=", 1) for word in sys.argv[2:]]
source = PythonLaunchDescriptionSource(sys.argv[1])
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)])
)
sys.exit(service.run())
"""


def module(name):
    specification = importlib.util.spec_from_file_location(name, SHARE / "launch" / f"{name}.launch.py")
    loaded = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(loaded)
    return loaded


def started(name, **arguments):
    """The entities that a launch file starts with these arguments."""
    loaded = module(name)
    context = launch.LaunchContext()
    context.launch_configurations.update(arguments)
    for argument in loaded.ARGUMENTS:
        argument.execute(context)
    return loaded.start(context) if hasattr(loaded, "start") else loaded.play(context)


class Launched:
    """A launch file in a process of its own, and all that it says."""

    def __init__(self, name, *arguments):
        command = [sys.executable, "-c", RUN, str(SHARE / "launch" / f"{name}.launch.py"), *arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self.lines = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout))
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)  # as Ctrl-C in a terminal reaches all of them
        self.process.wait(60.0)
        self.reader.join()


@contextlib.contextmanager
def watcher():
    """A node of our own beside the launched ones."""
    rclpy.init()
    node = rclpy.create_node("watcher")
    yield node
    node.destroy_node()
    rclpy.shutdown()


@pytest.mark.parametrize(("namespace", "prefix"), [("", "/"), ("/robot/", "/robot/"), ("robot", "/robot/")])
def test_every_output_is_recorded(namespace, prefix):
    topics = [*(row.topic for row in RECORDED_TOPICS), SCALE_TOPIC]
    for cameras in ([LaunchCamera()], [LaunchCamera("front"), LaunchCamera("left")]):
        command = module("camera").recorder("folder", namespace, cameras).cmd
        words = ["".join(part.text for part in word) for word in command]
        assert os.access(words[0], os.X_OK), "an installed program, whose Python is that of the package"
        expected = [prefix + camera.prefix + topic for camera in cameras for topic in topics]
        assert words[1:] == [*expected, "--out", "folder"]


def test_arguments_become_parameters_where_they_are_given():
    given = {"use_sim_time": "false", "weights": "", "device": ""}
    parameters = module("camera").parameters
    assert parameters(given, [LaunchCamera()]) == {"use_sim_time": False}
    given |= {"use_sim_time": "True", "weights": "w", "device": "cpu"}
    cameras = [LaunchCamera("front", camera_height="2"), LaunchCamera("left", compressed="true")]
    assert parameters(given, cameras) == {
        "use_sim_time": True,
        "cameras": ["front", "left"],
        "cameras.front.camera_height_m": 2.0,
        "cameras.left.compressed": True,
        "pipeline.weights": "w",
        "pipeline.device": "cpu",
    }


def test_rviz_and_the_recorder_come_when_they_are_asked_for():
    assert len(started("camera")) == 1
    assert len(started("camera", rviz="true", record="out")) == 3
    with pytest.raises(ConfigError, match="rviz is 'perhaps'"):
        started("camera", rviz="perhaps")


def test_the_recording_is_played_as_the_arguments_say():
    [player, *_] = started("replay", bag="drive", namespace="robot", loop="true", rate="2.0")
    words = [part[0].text for part in player.cmd]
    assert words[1:] == ["play", "drive", "--rate", "2.0", "--namespace", "robot", "--loop"]


def test_each_camera_of_a_recording_is_played():
    front, left, _ = started("replay", bag="drive", cameras="front,left", image_topic="/f/image,/l/image")
    words = [[part[0].text for part in player.cmd][5:] for player in (front, left)]
    assert words == [
        ["--namespace", "front", "--image-topic", "/f/image"], ["--namespace", "left", "--image-topic", "/l/image"],
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="image_topic chooses what is played"):
        started("replay", bag="drive", image="/cam/image_raw")


def test_training_takes_its_arguments_as_parameters_where_they_are_given():
    loaded = module("train")
    given = dict.fromkeys((argument.name for argument in loaded.ARGUMENTS), "")
    assert loaded.parameters(given) == {}
    given |= {"data": "one, two", "out": "o", "validate": "three", "max_steps": "7", "resume": "True", "weights": "w"}
    assert loaded.parameters(given) == {
        "data": ["one", "two"],
        "out": "o",
        "validate": ["three"],
        "max_steps": 7,
        "resume": True,
        "weights": "w",
    }
    with pytest.raises(ValueError, match="'perhaps'"):
        loaded.parameters(given | {"resume": "perhaps"})


def test_the_camera_launch_file_runs_the_node_and_stops_it_cleanly(tmp_path):
    record, params = tmp_path / "recording", tmp_path / "params.yaml"
    params.write_text("/**:\n  ros__parameters:\n    pipeline.scale.mode: fixed\n    pipeline.weights: random\n")
    arguments = (
        "image:=/cam/image_raw",
        "namespace:=robot",
        f"params_file:={params}",
        "device:=cpu",
        f"record:={record}",
    )
    with watcher() as node, Launched("camera", *arguments) as launched:
        clouds, states = [], []
        node.create_subscription(PointCloud2, "/robot/points", clouds.append, 10)
        node.create_subscription(DiagnosticArray, "/diagnostics", states.append, 10)
        images = node.create_publisher(Image, "/cam/image_raw", 10)
        infos = node.create_publisher(CameraInfo, "/cam/camera_info", 10)
        end = time.monotonic() + 90
        while not clouds:
            assert time.monotonic() < end, launched.lines
            info = CameraInfo(height=96, width=160, k=[100.0, 0, 80, 0, 100, 48, 0, 0, 1])
            info.header.frame_id = "optical"
            info.header.stamp = node.get_clock().now().to_msg()
            image = Image(header=info.header, height=96, width=160, step=480, encoding="rgb8")
            image.data.frombytes(np.zeros((96, 160, 3), np.uint8).tobytes())
            infos.publish(info)
            images.publish(image)
            rclpy.spin_once(node, timeout_sec=0.3)
        assert clouds[0].header.frame_id == "optical"
    finished = [line for line in launched.lines if "perception_node" in line and "process has" in line]
    assert ["finished cleanly" in line for line in finished] == [True], "".join(launched.lines)
    assert not [line for line in launched.lines if "Traceback" in line]
    assert (record / "metadata.yaml").is_file()


@pytest.mark.slow
def test_the_replay_launch_file_records_every_output_of_the_recording_and_ends(tmp_path):
    frames = 6
    write_bag(Drive(SceneConfig(frames=frames, height=64, width=96, traffic=0.0), 1), tmp_path / "bag")
    arguments = (f"bag:={tmp_path / 'bag'}", f"record:={tmp_path / 'out'}", "device:=cpu", "rate:=0.1")
    with Launched("replay", *arguments) as launched:
        launched.process.wait(150.0)
    assert launched.process.returncode == 0, "".join(launched.lines)
    assert any(f"{frames} frames published" in line for line in launched.lines)
    with BagReader(tmp_path / "out") as reader:
        stamps = [message.header.stamp for *_, message in reader.messages(["/points"])]
    assert len(stamps) == frames


@pytest.mark.slow
def test_replay_ends_where_the_recorder_cannot_begin(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metadata.yaml").write_text("there already")
    with Launched("replay", f"bag:={tmp_path}", f"record:={tmp_path / 'out'}", "device:=cpu") as launched:
        launched.process.wait(150.0)
    text = "".join(launched.lines)
    assert "recorder: " in text
    assert "the recorder failed to start" in text
    assert "frames published" not in text


@pytest.mark.slow
def test_the_train_launch_file_trains_and_ctrl_c_leaves_a_checkpoint(tmp_path):
    write_bag(Drive(SceneConfig(frames=4, height=64, width=96, traffic=0.0), 1), tmp_path / "bag")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(DEPTH_ALONE))
    arguments = (f"data:={tmp_path / 'bag'}", f"config:={tmp_path / 'config.yaml'}", f"out:={tmp_path / 'out'}")
    with watcher() as node, Launched("train", *arguments, "namespace:=robot") as launched:
        steps = []
        node.create_subscription(TrainingProgress, "/robot/training/progress", lambda m: steps.append(m.step), 1)
        end = time.monotonic() + 90
        while not steps or steps[-1] < 2:
            assert time.monotonic() < end, launched.lines
            rclpy.spin_once(node, timeout_sec=0.3)
    finished = [line for line in launched.lines if "training_node" in line and "process has" in line]
    assert ["finished cleanly" in line for line in finished] == [True], "".join(launched.lines)
    assert (tmp_path / "out" / "checkpoints" / "last.ckpt").is_file()
