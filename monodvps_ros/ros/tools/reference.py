# SPDX-License-Identifier: Apache-2.0
"""Writes the nodes' parameter files and pages of the manual from the configuration tree and the node's tables.

``python -m monodvps_ros.ros.tools.reference`` writes them anew into the source tree; a test holds them to it.
"""

import json
from pathlib import Path

from monodvps_ros.config import NodeConfig, Setting, TrainingNodeConfig, settings
from monodvps_ros.config.commented import commented_yaml
from monodvps_ros.config.tree import Config
from monodvps_ros.data.image_codec import PICTURE_ENCODINGS
from monodvps_ros.ros.management import diagnostics
from monodvps_ros.ros.management import training_status as training_progress
from monodvps_ros.ros.management.parameters import parameter_type
from monodvps_ros.ros.topics.label_info import TOPIC as LABEL_INFO
from monodvps_ros.ros.topics.outputs import OUTPUT_TOPICS

#: Where they lie in the source tree.
PARAMETER_FILE = Path("config/perception.yaml")
NODE_PAGE = Path("docs/node.md")
TRAINING_PARAMETER_FILE = Path("config/training_node.yaml")
TRAINING_PAGE = Path("docs/training_node.md")

_PAGE = """\
# The perception node

<!-- Made by: python -m monodvps_ros.ros.tools.reference -->

`ros2 run monodvps_ros perception_node`, or one of the launch files. A lifecycle node; with `autostart` it configures
and activates itself. All names are relative: put the node into a namespace, or remap a topic to another. With
`cameras: [front, left]` each camera's topics stand in a namespace of its name.

The node works on the newest image, counts those that it had to drop, and computes nothing that nobody subscribes to.
Outputs bear the header of the image that they were made from.

## Subscribed topics

| topic | type | contract |
|---|---|---|
| `image` | sensor_msgs/Image | encodings: {encodings}; another is refused, counted and named |
| `image/compressed` | sensor_msgs/CompressedImage | instead of `image` with `compressed: true`; JPEG or PNG |
| `camera_info` | sensor_msgs/CameraInfo | of the image as it is sent; without it there is no cloud |

Quality of service: keep last, as deep as `input_depth`; reliable where every publisher offers it, else best effort
(`input_reliability`).

## Published topics

| topic | type | encoding | contract |
|---|---|---|---|
{outputs}
| `{label_info}` | vision_msgs/LabelInfo | - | class names; latched; where vision_msgs is installed |
| `/diagnostics` | diagnostic_msgs/DiagnosticArray | - | see below |

Quality of service: reliable, keep last, as deep as `output_depth`; `{label_info}` transient local. History, depth and
reliability may be set by `qos_overrides` parameters.

A point is 24 bytes: `x` `y` `z` (float32, metres, optical frame), `rgb` (float32 whose bits are 0x00RRGGBB), `label`
(uint32, class id), `instance` (uint32, instance id within the class, 0 for stuff).

Large images and clouds need a transport that carries them. `config/fastdds_large_messages.xml` sets Fast DDS up for
them; the launch files use it, other processes (the camera's driver, RViz, a recorder) should too:
`export FASTDDS_DEFAULT_PROFILES_FILE=$(ros2 pkg prefix --share monodvps_ros)/config/fastdds_large_messages.xml`

A process that ends gives its part of this shared memory back, up to 268 MB; one that is killed leaves it in
`/dev/shm` until `fastdds shm clean`, or a restart of the machine.

## Parameters

Those marked *fixed* cannot be changed while the node runs; a change of another takes effect with the next image, or is
refused with its reason. `config/perception.yaml` holds all of them with their defaults.

| name | type | default | unit | range | meaning |
|---|---|---|---|---|---|
{parameters}

## Diagnostics

One status for the node and one for each camera. The message names the first reason why nothing or little comes out: no
publisher, quality of service that does not fit, no image for {silence_s} s, an image that cannot be decoded, a failure
(with the image's stamp), a lost device, falling behind, no usable camera_info.

| key of the node | meaning |
|---|---|
{node_keys}

| key of a camera | meaning |
|---|---|
{camera_keys}

Every image received is processed, without subscriber (`{idle}`), dropped, or waiting.

## What it takes from ROS where it is installed

| package | where it is installed | where it is not |
|---|---|---|
| `message_filters` | pairs image and camera_info with `camera_info_sync: exact` | the node pairs them itself, alike |
| `vision_msgs` | `{label_info}` is published | a line in the log says that it is not |
| `cv_bridge`, `sensor_msgs_py` | `monodvps benchmark` times them beside the node's own way | a way by numpy alone |

`message_filters` is mended where it falls short: its drops are counted, and a recording that is played in a loop pairs
in every loop. Images and clouds go another way than through `cv_bridge` and `sensor_msgs_py`, with the same answers
(`test/test_ros_contract.py` holds both to them), because that is the path of every frame, and they cost more: measured
at 1080p on two x86-64 cores, `cv_bridge` takes 1.3 to 10 times as long by encoding (bgr8: 0.8 ms against 0.2 ms) and
10 ms for rgb8, which needs no copy at all here; it does not know `uyvy` and `yuyv`, and fails on big-endian images with
NumPy 2. `create_cloud` takes about ten times as long for the whole cloud (110 ms against 10 ms), and makes no organized
cloud of an (H, W) array. `monodvps benchmark` measures it on your machine.

## Views

`config/monodvps.rviz` (also `rviz:=true` of the launch file) shows image, depth, panoptic colours and the cloud by
colour; switch on "Cloud by instance" for the other colouring. Its fixed frame must be the `frame_id` of the images
(`fixed_frame:=…`); then it needs no tf, though RViz says "No tf data". `config/monodvps_foxglove.json` is a layout for
Foxglove (Layouts, import from file); depth is the cloud in colours there, seen from the camera, from 0 to 60 m.
"""

_TRAINING_PAGE = """\
# The training node

<!-- Made by: python -m monodvps_ros.ros.tools.reference -->

`ros2 launch monodvps_ros train.launch.py data:=drive_1,drive_2 out:=runs/first` trains the network on recordings and
tells over ROS how it goes; `monodvps train` is the same training without ROS, and the one for several GPUs. What is
trained, and how, stands in the training config (`config/train.yaml` has every key); the node's own parameters only say
on what, from what and where to. What it leaves in `out`: `checkpoints/last.ckpt`, `checkpoints/best.ckpt` where it
measures, `weights.safetensors` for the perception node, TensorBoard's `log`.

## Start, stop, resume

It is a lifecycle node. Its active state is the training run:

| transition | does |
|---|---|
| configure | reads the training config, opens the data, looks at `out`; refuses with the reason |
| activate | starts, or goes on from the last checkpoint in `out` |
| deactivate | stops after the step in hand; answers once checkpoint and weights are written |
| cleanup | lets go of the data |
| shutdown | as deactivate, from any state |

So `ros2 lifecycle set /training deactivate` stops with a checkpoint and `ros2 lifecycle set /training activate`
resumes; the services are `~/change_state` and `~/get_state` (lifecycle_msgs). A validation under way is given up; the
steps before it are kept. A run that is resumed sees the samples in the order of one that was never stopped.

With `autostart` the process configures and activates the node and ends with the run. SIGINT and SIGTERM stop with a
checkpoint, in any state. To go on in a new process, start it again with `resume: true`.

| exit code | means |
|---|---|
| 0 | finished, or stopped on request |
| 2 | could not start, or failed: one line in the log says why, and `training/progress` has it too |

## Published topics

| topic | type | contract |
|---|---|---|
| `training/progress` | monodvps_ros/TrainingProgress | each step, at most ten a second; each change of phase |
| `/diagnostics` | diagnostic_msgs/DiagnosticArray | see below |

`training/progress` is reliable and transient local, keep last 1: who subscribes late has the newest at once. `epoch`
counts passes over the data by the number of samples; a run is bounded by steps, so `max_epochs` is 0.

## Parameters

All are *fixed*: they are given at start. `config/training_node.yaml` holds them with their defaults.

| name | type | default | unit | range | meaning |
|---|---|---|---|---|---|
{parameters}

## Diagnostics

One status. Its level is ERROR where the run or the start failed, with the reason as its message; else OK.

| key | meaning |
|---|---|
{keys}
"""


def parameter_file(config_class: type[Config] = NodeConfig, node: str = "perception node") -> str:
    """Return a parameter file that holds every default, each with what it means.

    Args:
        config_class: the node's configuration.
        node: what it is called.
    """
    lines = [
        "# SPDX-License-Identifier: Apache-2.0",
        f"# Every parameter of the {node} with its default. Made by: python -m monodvps_ros.ros.tools.reference",
        "/**:",
        "  ros__parameters:",
        *commented_yaml(config_class, "    "),
    ]
    return "\n".join(lines) + "\n"


def node_page() -> str:
    """Return the node's page of the manual, in Markdown."""
    outputs = [
        f"| `{row.topic}` | {_type_name(row.message_type)} | {row.encoding or '-'} | {row.contract} |"
        for row in OUTPUT_TOPICS
    ]
    return _PAGE.format(
        encodings=", ".join(PICTURE_ENCODINGS),
        outputs="\n".join(outputs),
        label_info=LABEL_INFO,
        parameters="\n".join(_parameter_row(setting) for setting in settings(NodeConfig)),
        silence_s=f"{diagnostics.SILENCE_S:g}",
        node_keys="\n".join(f"| `{key}` | {meaning} |" for key, meaning in diagnostics.NODE_KEYS.items()),
        camera_keys="\n".join(f"| `{key}` | {meaning} |" for key, meaning in diagnostics.CAMERA_KEYS.items()),
        idle=diagnostics.IDLE,
    )


def training_page() -> str:
    """Return the training node's page of the manual, in Markdown."""
    return _TRAINING_PAGE.format(
        parameters="\n".join(_parameter_row(setting) for setting in settings(TrainingNodeConfig)),
        keys="\n".join(f"| `{key}` | {meaning} |" for key, meaning in training_progress.KEYS.items()),
    )


def _type_name(message_type: type) -> str:
    return f"{message_type.__module__.split('.')[0]}/{message_type.__name__}"


def _parameter_row(setting: Setting) -> str:
    meaning = setting.description + (" *Fixed.*" if setting.read_only else "")
    default, unit, allowed = json.dumps(setting.plain_default), setting.unit or "-", setting.allowed or "-"
    return f"| `{setting.name}` | {parameter_type(setting)} | `{default}` | {unit} | {allowed} | {meaning} |"


def files() -> dict[Path, str]:
    """Return all files by their paths in the source tree."""
    return {
        PARAMETER_FILE: parameter_file(),
        NODE_PAGE: node_page(),
        TRAINING_PARAMETER_FILE: parameter_file(TrainingNodeConfig, "training node"),
        TRAINING_PAGE: training_page(),
    }


def main() -> None:
    """Write all files into the source tree that this file lies in."""
    root = Path(__file__).resolve().parents[3]
    for path, text in files().items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
