# SPDX-License-Identifier: Apache-2.0
"""The views that a launch writes: every topic is that of its namespace, cameras and transport."""

import json
import re
from pathlib import Path

import pytest
import yaml

from monodvps_ros.config.launch_cameras import LaunchCamera, full_name
from monodvps_ros.config.launch_views import foxglove_view, rviz_view

CONFIG = Path(__file__).parent.parent / "config"
RVIZ = (CONFIG / "monodvps.rviz").read_text(encoding="utf-8")
FOXGLOVE = (CONFIG / "monodvps_foxglove.json").read_text(encoding="utf-8")


def rviz_topics(*arguments):
    displays = yaml.safe_load(rviz_view(RVIZ, *arguments))["Visualization Manager"]["Displays"]
    return [(display["Name"], display["Topic"]["Value"]) for display in displays if "Topic" in display]


@pytest.mark.parametrize(
    ("namespace", "topic", "expected"),
    [
        ("", "image", "/image"),
        ("robot", "image", "/robot/image"),
        ("/robot/", "front/image", "/robot/front/image"),
        ("robot", "/cam/image", "/cam/image"),
    ],
)
def test_full_names(namespace, topic, expected):
    assert full_name(namespace, topic) == expected


def test_rviz_follows_namespace_image_and_compressed():
    topics = dict(rviz_topics("robot", [LaunchCamera(image="/cam/image_raw", compressed="true")], {}))
    assert topics["Image"] == "/cam/image_raw/compressed"
    assert topics["Depth, metres"] == "/robot/depth/image"
    assert topics["Cloud by instance"] == topics["Cloud by colour"] == "/robot/points"
    whole, own = yaml.safe_load(RVIZ), yaml.safe_load(rviz_view(RVIZ, "", [LaunchCamera()], {}))
    manager, shown = whole["Visualization Manager"], own["Visualization Manager"]
    assert len(shown["Displays"]) == len(manager["Displays"]), "displays without a topic stay"
    assert {**shown, "Displays": []} == {**manager, "Displays": []}


def test_rviz_shows_every_camera():
    cameras = [LaunchCamera("front"), LaunchCamera("left", image="/l/image", compressed="false")]
    topics = dict(rviz_topics("", cameras, {"cameras.front.compressed": True, "compressed": True}))
    assert (topics["front: Image"], topics["left: Image"]) == ("/front/image/compressed", "/l/image")
    assert (topics["front: Panoptic"], topics["left: Panoptic"]) == ("/front/panoptic/color", "/left/panoptic/color")


def test_foxglove_follows_as_well_and_diagnostics_have_no_namespace():
    text = foxglove_view(FOXGLOVE, "robot", LaunchCamera(image="/cam/image_raw", camera_info="/cam/info"), {})
    panels = json.loads(text)["configById"]
    assert panels["Image!camera"]["imageMode"] == {"imageTopic": "/cam/image_raw", "calibrationTopic": "/cam/info"}
    assert "/robot/points" in panels["3D!cloud"]["topics"]
    assert panels["RawMessages!segments"]["topicPath"] == "/robot/panoptic/segments.segments[:]"
    assert panels["DiagnosticSummary!node"]["topicToRender"] == "/diagnostics"
    names = re.findall(r'"(/[^"]*)"', text)
    assert {name.split("/")[1] for name in names} == {"robot", "cam", "diagnostics"}
    assert json.loads(foxglove_view(FOXGLOVE, "", LaunchCamera(), {})) == json.loads(FOXGLOVE)
