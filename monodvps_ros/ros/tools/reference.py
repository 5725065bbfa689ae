# SPDX-License-Identifier: Apache-2.0
"""Writes the nodes' parameter files, and the tables in their pages of the manual, from the settings and the outputs.

``python -m monodvps_ros.ros.tools.reference`` updates them in the source tree; a test compares them.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from monodvps_ros.config import CameraConfig, NodeConfig, TrainingNodeConfig, settings
from monodvps_ros.config.commented import commented_yaml
from monodvps_ros.config.tree import Config
from monodvps_ros.data.image_codec import PICTURE_ENCODINGS
from monodvps_ros.outputs import LABEL_INFO_TOPIC, OUTPUT_TOPICS, SCALE_TOPIC, SCALE_TYPE
from monodvps_ros.ros.management import diagnostics
from monodvps_ros.ros.management import training_status as training_progress
from monodvps_ros.ros.management.parameters import parameter_type

#: The source tree that this file lies in.
ROOT = Path(__file__).resolve().parents[3]
PARAMETER_FILE = Path("config/perception.yaml")
NODE_PAGE = Path("docs/node.md")
TRAINING_PARAMETER_FILE = Path("config/training_node.yaml")
TRAINING_PAGE = Path("docs/training_node.md")

_BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end of generated -->)", re.DOTALL)


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


def node_blocks() -> dict[str, str]:
    """Return the tables of the perception node's page."""
    topics = [
        (row.topic, row.type_name.replace("/msg/", "/"), row.encoding or "-", row.contract) for row in OUTPUT_TOPICS
    ]
    topics.append((SCALE_TOPIC, SCALE_TYPE.replace("/msg/", "/"), "-", "where the metres come from; latched"))
    topics.append((LABEL_INFO_TOPIC, "vision_msgs/LabelInfo", "-", "name of each class id; latched"))
    topics.append(("/diagnostics", "diagnostic_msgs/DiagnosticArray", "-", "see below"))
    return {
        "encodings": ", ".join(PICTURE_ENCODINGS) + ".\n",
        "outputs": _table("topic | type | encoding | contract", topics),
        "parameters": _parameter_table(NodeConfig),
        "cameras": _parameter_table(CameraConfig, "cameras.NAME."),
        "diagnostics": _table("key of the node | meaning", diagnostics.NODE_KEYS.items())
        + "\n"
        + _table("key of a camera | meaning", diagnostics.CAMERA_KEYS.items()),
    }


def training_blocks() -> dict[str, str]:
    """Return the tables of the training node's page."""
    return {
        "parameters": _parameter_table(TrainingNodeConfig),
        "diagnostics": _table("key | meaning", training_progress.KEYS.items()),
    }


def fill(page: str, blocks: Mapping[str, str]) -> str:
    """Replace the generated blocks of a page.

    Raises:
        ValueError: the page does not have each block once.
    """
    found = sorted(name for _, name, _ in _BLOCK.findall(page))
    if found != sorted(blocks):
        raise ValueError(f"the page has the generated blocks {found}; expected {sorted(blocks)}")
    return _BLOCK.sub(lambda match: match[1] + blocks[match[2]] + match[3], page)


def _table(heading: str, rows: Iterable[Sequence[str]]) -> str:
    """Make a table whose first column is code."""
    rule = "|".join("---" for _ in heading.split("|"))
    return f"| {heading} |\n|{rule}|\n" + "".join(f"| `{first}` | {' | '.join(others)} |\n" for first, *others in rows)


def _parameter_table(config_class: type[Config], prefix: str = "") -> str:
    return _table(
        "name | type | default | unit | range | meaning",
        [
            (
                setting.name,
                parameter_type(setting),
                f"`{json.dumps(setting.plain_default)}`",
                setting.unit or "-",
                setting.allowed or "-",
                setting.description + (" *Fixed.*" if setting.read_only else ""),
            )
            for setting in settings(config_class, prefix)
        ],
    )


def files() -> dict[Path, str]:
    """Return all files by their paths in the source tree; pages keep their prose."""
    pages = {NODE_PAGE: node_blocks(), TRAINING_PAGE: training_blocks()}
    return {
        PARAMETER_FILE: parameter_file(),
        TRAINING_PARAMETER_FILE: parameter_file(TrainingNodeConfig, "training node"),
        **{path: fill((ROOT / path).read_text(encoding="utf-8"), blocks) for path, blocks in pages.items()},
    }


def main() -> None:
    """Write all files into the source tree that this file lies in."""
    for path, text in files().items():
        (ROOT / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
