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
from types import SimpleNamespace

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
from sensor_msgs.msg import CameraInfo, Image

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


def words_of(process):
    return ["".join(part.text for part in word) for word in process.cmd]


def programs(entities):
    """Names of the programs that are started."""
    processes = [entity for entity in entities if isinstance(entity, launch.actions.ExecuteProcess)]
    return [getattr(process, "node_executable", None) or Path(words_of(process)[0]).name for process in processes]


def players(entities):
    return [words_of(entity) for entity in entities if isinstance(entity, launch.actions.ExecuteProcess)]


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
    values = {"record": "folder", "namespace": namespace, "params_file": ""}
    for cameras in ([LaunchCamera()], [LaunchCamera("front"), LaunchCamera("left")]):
        words = words_of(module("camera").recorder(values, cameras, inputs=False, diagnostics=False))
        assert os.access(words[0], os.X_OK), "an installed program, whose Python is that of the package"
        expected = [prefix + camera.prefix + topic for camera in cameras for topic in topics]
        assert words[1:] == [*expected, "--events", "--out", "folder", "--optional", prefix + "label_info"]


def test_input_and_diagnostics_are_recorded_on_request(tmp_path):
    (tmp_path / "params.yaml").write_text("/**: {ros__parameters: {cameras: [a, b], cameras.b.compressed: true}}")
    values = {"record": "folder", "namespace": "robot", "params_file": str(tmp_path / "params.yaml")}
    cameras = [LaunchCamera("a", image="/cam/image_raw"), LaunchCamera("b")]
    words = words_of(module("camera").recorder(values, cameras, inputs=True, diagnostics=True))
    assert [word for word in words[words.index("--out") + 2 :] if word != "--optional"] == [
        "/robot/label_info", "/cam/image_raw", "/cam/camera_info", "/robot/b/image/compressed",
        "/robot/b/camera_info", "/diagnostics",
    ]  # fmt: skip


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


def test_rviz_and_the_recorder_come_when_they_are_asked_for(monkeypatch, tmp_path):
    assert programs(started("camera")) == ["perception_node"]
    (tmp_path / "share/ament_index/resource_index/packages").mkdir(parents=True)
    (tmp_path / "share/ament_index/resource_index/packages/rviz2").touch()
    with pytest.raises(ConfigError, match=r"rviz needs rviz2, which is not installed: sudo apt install .*-rviz2"):
        started("camera", rviz="true")
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{os.environ['AMENT_PREFIX_PATH']}:{tmp_path}")
    assert programs(started("camera", rviz="true", record="out")) == ["recorder", "rviz2", "perception_node"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rviz": "perhaps"}, "launch argument rviz is 'perhaps'; it must be true or false"),
        ({"respawn": "2"}, "launch argument respawn is '2'"),
        ({"use_sim_time": ""}, "launch argument use_sim_time is ''"),
        ({"namespace": "my robot"}, "launch argument namespace is 'my robot'; it must be names of letters"),
        ({"namespace": "2nd"}, "launch argument namespace is '2nd'"),
        ({"camera_height": "high"}, "launch argument camera_height is 'high'; it must be a number from 0 to 50"),
        ({"camera_height": "nan"}, "launch argument camera_height is 'nan'"),
        ({"params_file": "/no/file.yaml"}, "launch argument params_file: /no/file.yaml: cannot be read"),
        ({"record": "/tmp"}, "launch argument record: /tmp exists already"),
        ({"record_input": "true"}, "launch argument record_input cannot apply without record"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        started("camera", **arguments)


def test_an_argument_that_looks_like_another_is_told(monkeypatch):
    told = []
    monkeypatch.setattr(launch.logging, "get_logger", lambda _name: SimpleNamespace(warning=told.append))
    started("camera", imge="/cam/image_raw", bag="drive", rate="2")
    assert told == ["launch argument 'imge' is unknown and ignored; did you mean 'image'?"]


def test_the_recording_is_played_as_the_arguments_say(tmp_path):
    arguments = {"bag": str(tmp_path), "namespace": "robot", "loop": "true", "rate": "2.0"}
    [player] = players(started("replay", **arguments))
    options = ["--rate", "2.0", "--wait-for", "1", "--namespace", "robot", "--loop"]
    assert player[1:] == ["play", str(tmp_path), *options]
    for name, value in (("rate", "fast"), ("rate", "0"), ("loop", "yes"), ("bag", "/no/bag")):
        with pytest.raises(ConfigError, match=f"launch argument {name}"):
            started("replay", **{**arguments, name: value})


def test_each_camera_of_a_recording_is_played(tmp_path):
    arguments = {"bag": str(tmp_path), "cameras": "front,left", "image_topic": "/f/image,/l/image"}
    front, left = ["--namespace", "front", "--image-topic", "/f/image"], [
        "--namespace", "left", "--image-topic", "/l/image"]  # fmt: skip
    jpeg = ["--compressed"]
    for given, expected in {
        "": [front, left],
        "true": [front + jpeg, left + jpeg],
        "false,true": [front, left + jpeg],
    }.items():
        more = {"compressed": given} if given else {}
        assert [words[7:] for words in players(started("replay", **arguments, **more))] == expected
    with pytest.raises(ConfigError, match="launch argument compressed has 3 values for the 2 cameras"):
        started("replay", **arguments, compressed="true,true,false")
    with pytest.raises(ConfigError, match="image_topic chooses what is played"):
        started("replay", bag=str(tmp_path), image="/cam/image_raw")


def test_training_takes_its_arguments_as_parameters_where_they_are_given():
    loaded = module("train")
    given = dict.fromkeys((argument.name for argument in loaded.ARGUMENTS), "")
    assert loaded.parameters(given) == {}
    given |= {"data": "one, two", "out": "o", "validate": "three", "max_steps": "7", "resume": "True", "weights": "w"}
    given["rectified"] = "true"
    assert loaded.parameters(given) == {
        "data": ["one", "two"],
        "out": "o",
        "validate": ["three"],
        "max_steps": 7,
        "resume": True,
        "weights": "w",
        "rectified": "true",
    }
    for name in ("resume", "max_steps"):
        with pytest.raises(ConfigError, match=f"launch argument {name} is 'perhaps'"):
            loaded.parameters(given | {name: "perhaps"})


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
        maps, states = [], []
        node.create_subscription(Image, "/robot/panoptic/image", maps.append, 10)
        node.create_subscription(DiagnosticArray, "/diagnostics", states.append, 10)
        images = node.create_publisher(Image, "/cam/image_raw", 10)
        infos = node.create_publisher(CameraInfo, "/cam/camera_info", 10)
        end = time.monotonic() + 90
        while not maps:
            assert time.monotonic() < end, launched.lines
            info = CameraInfo(height=96, width=160, k=[100.0, 0, 80, 0, 100, 48, 0, 0, 1])
            info.header.frame_id = "optical"
            info.header.stamp = node.get_clock().now().to_msg()
            image = Image(header=info.header, height=96, width=160, step=480, encoding="rgb8")
            image.data.frombytes(np.zeros((96, 160, 3), np.uint8).tobytes())
            infos.publish(info)
            images.publish(image)
            rclpy.spin_once(node, timeout_sec=0.3)
        assert maps[0].header.frame_id == "optical"
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
@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("camera", ["device:=gpu"], "the perception node ended with exit code 2, see above for the reason"),
        ("camera", ["weights:=none.safetensors", "respawn:=true"], "the perception node ended with exit code 2"),
        ("camera", ["rviz:=true"], "launch argument rviz needs rviz2"),
        ("replay", ["bag:={here}", "record:={here}/file/out"], "the recorder ended with exit code"),
        ("replay", ["bag:={here}"], "the player ended with exit code 2"),
        ("train", ["max_steps:=7"], "the training node ended with exit code 2"),
    ],
)
def test_a_launch_that_cannot_begin_says_why_and_ends_with_an_error(tmp_path, name, arguments, reason):
    (tmp_path / "file").touch()
    with Launched(name, *(word.replace("{here}", str(tmp_path)) for word in arguments)) as launched:
        launched.process.wait(150.0)
    text = "".join(launched.lines)
    assert (launched.process.returncode, reason in text) == (1, True), text
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
