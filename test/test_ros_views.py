# SPDX-License-Identifier: Apache-2.0
"""The files for RViz and Foxglove: every topic is one that the node publishes, every key one that the program reads."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")

from monodvps_ros.outputs import OUTPUT_TOPICS, POINT_DTYPE

pytestmark = pytest.mark.ros

CONFIG = Path(__file__).parent.parent / "config"
TYPES = {"image": "Image", **{row.topic: row.type_name.rpartition("/")[2] for row in OUTPUT_TOPICS}}

#: Keys of every display, whatever its class (rviz_common's Display).
DISPLAY = {"Class", "Name", "Enabled", "Value"}
#: Message type and properties of the displays, as rviz_default_plugins has them.
DISPLAYS = {
    "Image": ("Image", {"Topic", "Normalize Range", "Min Value", "Max Value", "Median window"}),
    "PointCloud2": (
        "PointCloud2",
        {"Topic", "Filter size", "Selectable", "Style", "Size (m)", "Size (Pixels)", "Alpha", "Decay Time",
         "Position Transformer", "Color Transformer", "Use Fixed Frame", "Channel Name", "Use rainbow",
         "Invert Rainbow", "Min Color", "Max Color", "Autocompute Intensity Bounds", "Min Intensity", "Max Intensity"},
    ),
    "MarkerArray": ("MarkerArray", {"Topic", "Namespaces"}),
    "Axes": (None, {"Length", "Radius", "Reference Frame", "Alpha"}),
}  # fmt: skip
CHOICES = {
    "History Policy": {"Keep Last", "Keep All", "System Default"},
    "Reliability Policy": {"Reliable", "Best Effort", "System Default"},
    "Durability Policy": {"Volatile", "Transient Local", "System Default"},
    "Style": {"Points", "Squares", "Flat Squares", "Spheres", "Boxes", "Tiles"},
    "Position Transformer": {"XYZ"},
    "Color Transformer": {"RGB8", "RGBF32", "Intensity", "AxisColor", "FlatColor"},
    "Channel Name": set(POINT_DTYPE.names),
}
TOPIC = {"Value", "Depth", "History Policy", "Reliability Policy", "Durability Policy", "Filter size"}
TOOLS = {"MoveCamera", "Select", "Measure", "FocusCamera", "Interact", "SetInitialPose", "SetGoal", "PublishPoint"}
ORBIT = {"Class", "Name", "Distance", "Focal Point", "Pitch", "Yaw", "Target Frame", "Near Clip Distance",
         "Focal Shape Size", "Focal Shape Fixed Size", "Invert Z Axis", "Enable Stereo Rendering", "Value"}  # fmt: skip

#: Panel types of Foxglove and of its open forks, and the settings of each.
IMAGE_MODE = {"imageTopic", "calibrationTopic", "annotations", "synchronize", "rotation", "flipHorizontal",
              "flipVertical", "minValue", "maxValue", "colorMode", "colorMap", "gradient"}  # fmt: skip
CAMERA_STATE = {"distance", "perspective", "phi", "target", "targetOffset", "targetOrientation", "thetaOffset", "fovy",
                "near", "far"}  # fmt: skip
POINTS = {"visible", "frameLocked", "pointSize", "pointShape", "decayTime", "colorMode", "flatColor", "colorField",
          "gradient", "colorMap", "explicitAlpha", "minValue", "maxValue"}  # fmt: skip
MARKERS = {"visible", "color", "showOutlines", "hideOutline", "selectedIdVariable", "namespaces"}
PANELS = {
    "Image": {"imageMode", "cameraState", "followMode", "scene", "transforms", "topics", "layers", "publish"},
    "3D": {"cameraState", "followMode", "followTf", "scene", "transforms", "topics", "layers", "publish", "imageMode"},
    "DiagnosticSummary": {"minLevel", "topicToRender", "pinnedIds", "hardwareIdFilter", "sortByLevel"},
    "RawMessages": {"topicPath", "diffEnabled", "diffMethod", "diffTopicPath", "showFullMessageForDiff", "expansion"},
}


def short(class_name, library="rviz_default_plugins"):
    assert class_name.startswith(f"{library}/"), class_name
    return class_name.split("/")[1]


class TestRViz:
    @pytest.fixture
    def manager(self):
        whole = yaml.safe_load((CONFIG / "monodvps.rviz").read_text(encoding="utf-8"))
        assert set(whole) <= {"Panels", "Visualization Manager", "Window Geometry"}
        assert {short(panel["Class"], "rviz_common") for panel in whole["Panels"]} <= {"Displays", "Views", "Time"}
        return whole["Visualization Manager"]

    def test_displays_have_only_properties_that_their_class_has(self, manager):
        for display in manager["Displays"]:
            name = short(display["Class"])
            assert set(display) <= DISPLAY | DISPLAYS[name][1], display["Name"]
            for key, values in CHOICES.items():
                for place in (display, display.get("Topic", {})):
                    assert place.get(key) in {None, *values}, display["Name"]

    def test_topics_are_published_and_of_the_display_s_type(self, manager):
        for display in manager["Displays"]:
            wanted = DISPLAYS[short(display["Class"])][0]
            if wanted is not None:
                assert set(display["Topic"]) <= TOPIC
                assert TYPES[display["Topic"]["Value"]] == wanted

    def test_quality_of_service_fits_that_of_the_topics(self, manager):
        """Cameras may be best effort; what the node publishes is reliable and volatile."""
        for display in manager["Displays"]:
            topic = display.get("Topic", {})
            if topic.get("Value") == "image":
                assert topic["Reliability Policy"] == "Best Effort"
            assert topic.get("Durability Policy") in (None, "Volatile")

    def test_what_is_to_be_seen_is_there(self, manager):
        shown = [(display["Topic"]["Value"], display.get("Color Transformer"), display.get("Channel Name"))
                 for display in manager["Displays"] if "Topic" in display]  # fmt: skip
        assert shown == [
            ("image", None, None),
            ("overlay", None, None),
            ("depth/image", None, None),
            ("panoptic/color", None, None),
            ("points", "RGB8", None),
            ("points", "Intensity", "instance"),
            ("markers", None, None),
        ]

    def test_the_view_looks_from_behind_and_above_the_camera(self, manager):
        """Orbit keeps z up, which is forward here: only from close to its pole does -y, the real up, point upwards."""
        assert {short(tool["Class"]) for tool in manager["Tools"]} <= TOOLS
        view = manager["Views"]["Current"]
        assert short(view["Class"]) == "Orbit"
        assert set(view) <= ORBIT
        pitch, yaw = view["Pitch"], view["Yaw"]
        eye = np.array([math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch), math.sin(pitch)])
        x, y, z = view["Distance"] * eye + [view["Focal Point"][axis] for axis in "XYZ"]
        assert (abs(x) < 0.1, y < -2.0, z < -2.0) == (True, True, True)
        up = np.array([0, 0, 1]) - eye[2] * eye
        assert up[1] < -0.2
        assert np.cross(-eye, up)[0] > 0

    def test_the_fixed_frame_is_the_one_that_the_launch_file_names(self, manager):
        assert manager["Global Options"]["Fixed Frame"] == "camera"
        text = (CONFIG.parent / "launch" / "camera.launch.py").read_text(encoding="utf-8")
        assert re.search(r'"fixed_frame",\s+default_value="camera"', text)


class TestFoxglove:
    @pytest.fixture
    def layout(self):
        return json.loads((CONFIG / "monodvps_foxglove.json").read_text(encoding="utf-8"))

    def test_topics_are_published(self, layout):
        text = json.dumps(layout["configById"])
        shown = {word.strip('"').split(".")[0] for word in re.findall(r'"/[a-z_/.\[:\]]+"', text)}
        assert shown <= {"/image", "/camera_info", "/diagnostics", *(f"/{row.topic}" for row in OUTPUT_TOPICS)}
        assert {"/image", "/overlay", "/panoptic/color", "/panoptic/segments"} <= shown
        assert {"/points", "/markers", "/diagnostics"} <= shown

    def test_panels_have_only_settings_that_their_type_has(self, layout):
        assert set(layout) == {"configById", "globalVariables", "userNodes", "playbackConfig", "layout"}
        for panel, settings in layout["configById"].items():
            assert set(settings) <= PANELS[panel.split("!")[0]] | {"foxglovePanelTitle"}, panel
            assert set(settings.get("imageMode", {})) <= IMAGE_MODE, panel
            assert set(settings.get("cameraState", {})) <= CAMERA_STATE, panel
            assert settings.get("followMode") in (None, "follow-pose", "follow-position", "follow-none")
            for topic, points in settings.get("topics", {}).items():
                if topic == "/markers":
                    assert set(points) <= MARKERS, panel
                    continue
                assert set(points) <= POINTS, panel
                assert points["colorMode"] in {"flat", "gradient", "colormap", "rgb", "rgba", "rgba-fields"}
                assert points["colorField"] in POINT_DTYPE.names

    def test_every_panel_is_placed_once(self, layout):
        placed = re.findall(r'"([A-Za-z0-9]+![a-z]+)"', json.dumps(layout["layout"]))
        assert sorted(placed) == sorted(layout["configById"])

    def test_image_panels_show_images_in_colour(self, layout):
        """An image of metres would be white there: its panels take 32FC1 as brightness from 0 to 1."""
        encodings = {f"/{row.topic}": row.encoding for row in OUTPUT_TOPICS if row.encoding}
        for panel, settings in layout["configById"].items():
            if panel.startswith("Image!"):
                assert encodings.get(settings["imageMode"]["imageTopic"], "rgb8") == "rgb8"
