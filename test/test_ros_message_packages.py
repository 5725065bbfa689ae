# SPDX-License-Identifier: Apache-2.0
"""Message packages that are not installed, or whose libraries cannot be loaded: one line each, and the rest works."""

import runpy
import sys
from types import ModuleType, SimpleNamespace

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")

from ros_bench import Bench
from sensor_msgs.msg import Image

from monodvps_ros.data.stamp_pairing import DictPairing
from monodvps_ros.ros.topics import filter_pairing, message_packages

pytestmark = pytest.mark.ros


class Unloadable(type):
    """As rosidl leaves a message whose library cannot be imported: it only logs that, at level debug."""

    _TYPE_SUPPORT = None

    def __import_type_support__(cls):
        pass


@pytest.fixture
def fresh():
    def clear():
        message_packages.problem.cache_clear()
        message_packages.loaded_class.cache_clear()

    clear()
    yield
    clear()


@pytest.fixture(params=["absent", "unloadable", "broken"])
def vision_msgs(request, monkeypatch, fresh):
    """vision_msgs that is not there, that imports but has no library, and that does not import."""
    if request.param == "broken":
        monkeypatch.setattr(message_packages, "message_class", broken_class(message_packages.message_class))
    module = ModuleType("vision_msgs.msg")
    for name in ("LabelInfo", "VisionClass", "Detection2DArray", "Detection3DArray"):
        setattr(module, name, Unloadable(name, (), {}))
    modules = {"vision_msgs": None, "vision_msgs.msg": None}
    if request.param == "unloadable":
        modules = {"vision_msgs": ModuleType("vision_msgs"), "vision_msgs.msg": module}
    for name, value in modules.items():
        monkeypatch.setitem(sys.modules, name, value)
    return request.param


def broken_class(real):
    def message_class(type_name):
        if type_name.startswith("vision_msgs"):
            raise ImportError("libvision_msgs.so: cannot open shared object file\nand 40 lines more")
        return real(type_name)

    return message_class


def log_lines(package="vision_msgs"):
    lines = []
    message_packages.report_missing(
        SimpleNamespace(
            info=lambda text: lines.append(("info", text)), warning=lambda text: lines.append(("warning", text))
        )
    )
    return [line for line in lines if package in line[1]]


def test_one_line_names_the_package_and_its_topics(vision_msgs):
    ((level, text),) = log_lines()
    assert "\n" not in text
    topics = "detections, detections_3d, label_info" if "detections_3d" in text else "detections, label_info"
    assert f"not published: {topics}" in text
    if vision_msgs == "absent":
        assert (level, text) == ("info", f"vision_msgs is not installed; not published: {topics}")
    else:
        assert level == "warning"
        assert text.startswith("vision_msgs cannot be loaded (")
        assert text.endswith("; install vision_msgs for this distribution of ROS 2")


def test_the_node_publishes_the_rest(vision_msgs):
    with Bench(outputs=("panoptic/image",)) as bench:
        bench.frame(0)
        assert isinstance(bench.wait_for("panoptic/image", 0), Image)
        names = dict(bench.node.get_publisher_names_and_types_by_node(bench.node.get_name(), bench.namespace))
        assert f"{bench.namespace}/overlay" in names
        assert not {f"{bench.namespace}/{topic}" for topic in ("label_info", "detections", "detections_3d")} & set(
            names
        )


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ModuleNotFoundError("No module named 'message_filters'", name="message_filters"), []),
        (AttributeError("module 'rclpy' has no attribute 'x'\nand more"), ["AttributeError: module 'rclpy' has no"]),
        (
            ModuleNotFoundError("No module named 'other'", name="other"),
            ["ModuleNotFoundError: No module named 'other'"],
        ),
    ],
)
def test_message_filters_that_cannot_be_imported(monkeypatch, error, expected):
    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "message_filters":
                raise error

    monkeypatch.delitem(sys.modules, "message_filters", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    broken = runpy.run_path(filter_pairing.__file__)
    assert broken["exact_pairing"]().description == DictPairing.description
    monkeypatch.setattr(filter_pairing, "problem", broken["problem"])
    lines = log_lines("message_filters")
    assert [level for level, _ in lines] == ["warning"] * len(expected)
    assert all(words in text and "\n" not in text for words, (_, text) in zip(expected, lines, strict=True))


def test_what_is_installed_is_loaded(fresh):
    assert message_packages.problem("sensor_msgs/msg/Image") == ""
    assert message_packages.loaded_class("sensor_msgs/msg/Image") is Image
    assert message_packages.problem("sensor_msgs/msg/NoSuch").startswith("cannot be loaded (ImportError: ")
