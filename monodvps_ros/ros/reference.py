# SPDX-License-Identifier: Apache-2.0
"""Writes the node's parameter file and its page of the manual from the configuration tree and the table of topics.

``python -m monodvps_ros.ros.reference`` writes both anew into the source tree; a test holds them to it.
"""

import json
import textwrap
from pathlib import Path

from monodvps_ros.config import NodeConfig, Setting, settings
from monodvps_ros.data.image_codec import PICTURE_ENCODINGS
from monodvps_ros.ros import diagnostics
from monodvps_ros.ros.label_info import TOPIC as LABEL_INFO
from monodvps_ros.ros.outputs import OUTPUT_TOPICS
from monodvps_ros.ros.parameters import parameter_type

#: Where both lie in the source tree.
PARAMETER_FILE = Path("config/perception.yaml")
NODE_PAGE = Path("docs/node.md")
_WIDTH = 110

_PAGE = """\
# The perception node

<!-- Made by: python -m monodvps_ros.ros.reference -->

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
"""


def parameter_file() -> str:
    """Return a parameter file that holds every default, each with what it means."""
    lines = [
        "# SPDX-License-Identifier: Apache-2.0",
        "# Every parameter of the perception node with its default. Made by: python -m monodvps_ros.ros.reference",
        "/**:",
        "  ros__parameters:",
    ]
    open_groups: list[str] = []
    for setting in settings(NodeConfig):
        *groups, name = setting.name.split(".")
        for depth, group in enumerate(groups):
            if open_groups[depth : depth + 1] != [group]:
                lines.append(f"{_indent(depth)}{group}:")
        open_groups = groups
        lines += _comment(f"{setting.description} {_limits(setting)}".strip(), _indent(len(groups)))
        lines.append(f"{_indent(len(groups))}{name}: {_yaml(setting)}")
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


def _type_name(message_type: type) -> str:
    return f"{message_type.__module__.split('.')[0]}/{message_type.__name__}"


def _parameter_row(setting: Setting) -> str:
    meaning = setting.description + (" *Fixed.*" if setting.read_only else "")
    return (
        f"| `{setting.name}` | {parameter_type(setting)} | `{_yaml(setting)}` | {setting.unit or '-'} | "
        f"{_range(setting) or '-'} | {meaning} |"
    )


def _yaml(setting: Setting) -> str:
    """A value as YAML: texts in quotes, for an unquoted true would not be a text."""
    return json.dumps(list(setting.default) if isinstance(setting.default, tuple) else setting.default)


def _range(setting: Setting) -> str:
    if setting.choices:
        return ", ".join(setting.choices)
    low, high = setting.at_least, setting.at_most
    if low is None and high is None:
        return ""
    return f"{'' if low is None else f'{low:g}'} .. {'' if high is None else f'{high:g}'}".strip()


def _limits(setting: Setting) -> str:
    parts = [setting.unit, _range(setting), "fixed while the node runs" if setting.read_only else ""]
    parts = [part for part in parts if part]
    return f"[{'; '.join(parts)}]" if parts else ""


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _indent(depth: int) -> str:
    return "    " + "  " * depth


def main() -> None:
    """Write both files into the source tree that this file lies in."""
    root = Path(__file__).resolve().parents[2]
    for path, text in ((PARAMETER_FILE, parameter_file()), (NODE_PAGE, node_page())):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
