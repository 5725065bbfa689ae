# SPDX-License-Identifier: Apache-2.0
"""The parameter file and the node's page say what the code says."""

import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")

from pathlib import Path

from monodvps_ros.config import NodeConfig, TrainingNodeConfig, from_dict, settings
from monodvps_ros.outputs import OUTPUT_TOPICS
from monodvps_ros.perception import statistics
from monodvps_ros.ros.management import diagnostics
from monodvps_ros.ros.tools import reference

pytestmark = pytest.mark.ros

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("path", reference.files(), ids=str)
def test_the_files_are_as_the_code_makes_them(path):
    text = reference.files()[path]
    assert (ROOT / path).read_text(encoding="utf-8") == text, "run: python -m monodvps_ros.ros.tools.reference"


def test_a_page_keeps_its_prose_and_must_have_each_block():
    page = "one\n<!-- generated: a -->\nold\n<!-- end of generated -->\ntwo\n"
    assert reference.fill(page, {"a": "new\n"}) == page.replace("old", "new")
    for blocks in ({}, {"a": "", "b": ""}, {"b": ""}):
        with pytest.raises(ValueError, match="generated blocks"):
            reference.fill(page, blocks)


@pytest.mark.parametrize("config_class", [NodeConfig, TrainingNodeConfig])
def test_the_parameter_file_holds_every_default(config_class):
    values = yaml.safe_load(reference.parameter_file(config_class))["/**"]["ros__parameters"]
    assert from_dict(config_class, values) == config_class()
    for setting in settings(config_class):
        value = values
        for part in setting.name.split("."):
            value = value[part]
        assert type(value) is (list if isinstance(setting.default, tuple) else type(setting.default)), setting.name


def test_every_key_of_the_parameter_file_has_its_comment():
    lines = reference.parameter_file().splitlines()
    for setting in settings(NodeConfig):
        name = setting.name.split(".")[-1]
        places = [index for index, line in enumerate(lines) if line.strip().startswith(f"{name}:")]
        assert places, setting.name
        assert all(lines[index - 1].strip().startswith("#") for index in places), setting.name


def test_the_page_names_every_topic_parameter_and_key():
    page = (ROOT / reference.NODE_PAGE).read_text(encoding="utf-8")
    for row in OUTPUT_TOPICS:
        assert f"| `{row.topic}` |" in page
    for setting in settings(NodeConfig):
        assert f"| `{setting.name}` |" in page
    for key in (*diagnostics.NODE_KEYS, *diagnostics.CAMERA_KEYS):
        assert f"| `{key}` |" in page
    for reason in statistics.DROP_REASONS:
        assert diagnostics.DROPPED_PREFIX + reason in diagnostics.CAMERA_KEYS
