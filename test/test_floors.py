# SPDX-License-Identifier: Apache-2.0
"""The house has floors: a room imports only from itself and from floors below, as read from the source by ast."""

import ast
from functools import cache
from pathlib import Path

import pytest

from monodvps_ros.optional import is_of_ros

PACKAGE = Path(__file__).parent.parent / "monodvps_ros"
FLOORS = [
    {
        "labels",
        "types",
        "outputs",
        "errors",
        "shapes",
        "signals",
        "threads",
        "files",
        "process_memory",
        "progress",
        "optional",
        "ros_environment",
        "config",
        "geometry",
    },
    {"network", "losses", "metrics"},
    {"engines", "perception", "data", "foundation"},
    {"scenes", "training", "evaluation", "view"},
    {"ros", "demo", "benchmark", "fleet", "cli"},
]
WITHIN_FLOOR = {  # rooms of one floor that know each other
    ("evaluation", "scenes"),  # measures on the splits of 'drives'
    ("training", "evaluation"),  # validation is an evaluation
    ("perception", "engines"),  # the pipeline's network runs in an engine
    ("perception", "foundation"),  # the model that a configuration names may be a pair of hub models
    ("demo", "ros"),
    ("benchmark", "ros"),
    ("cli", "ros"),
    ("cli", "demo"),
    ("cli", "benchmark"),
    ("cli", "fleet"),
}
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
ROS, TRAINING = FLOOR_OF["ros"], FLOOR_OF["training"]
SOURCES = sorted(PACKAGE.rglob("*.py"))


@cache
def nodes(source: str) -> list[ast.AST]:
    """All nodes of a source; several tests read all sources."""
    return list(ast.walk(ast.parse(source)))


def imports(source: str, module: str) -> set[str]:
    """Dotted names of all that a module imports, anywhere in it; relative imports made absolute."""
    package = module.split(".")[:-1]
    found = set()
    for node in nodes(source):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def room_of(name: str) -> str:
    """Second part of a dotted name: monodvps_ros.losses.flow -> losses."""
    return f"{name}.".split(".")[1]


def allowed(room: str, other: str) -> bool:
    """Whether a room may import from another one; `msg` is the generated messages."""
    floor, needed = FLOOR_OF.get(room, 0), FLOOR_OF.get(other, ROS)
    return needed < floor or floor == needed == 0 or (room, other) in WITHIN_FLOOR or (other == "msg" and floor == ROS)


def faults(source: str, module: str) -> list[str]:
    """Say in words what a module imports against the rules."""
    room, found = room_of(module), []
    floor = FLOOR_OF.get(room, 0)  # monodvps_ros/__init__.py stands on the lowest
    for name in sorted(imports(source, module)):
        library = name.split(".")[0]
        if library == "monodvps_ros":
            other = room_of(name)
            if other not in {*FLOOR_OF, "msg"}:
                found.append(f"{module} imports {name}, which is in no room")
            elif other != room and not allowed(room, other):
                found.append(f"{module} imports {name} from a floor that is not below its own")
        elif is_of_ros(library) and floor < ROS:
            found.append(f"{module} imports {name} below ros")
        elif library in {"lightning", "pytorch_lightning"} and floor < TRAINING:
            found.append(f"{module} imports {name} below training")
        elif library == "rosbags" and not f"{module}.".startswith("monodvps_ros.data.bag.") and room != "scenes":
            found.append(f"{module} imports {name}, which only data.bag and scenes may")
        elif library == "transformers" and room != "foundation":
            found.append(f"{module} imports {name}, which only foundation may")
        elif library == "rerun" and room != "view":
            found.append(f"{module} imports {name}, which only view may")
    return found


def test_modules_import_only_from_floors_below():
    modules = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path.read_text() for path in SOURCES}
    assert [fault for module, source in modules.items() for fault in faults(source, module)] == []


def test_every_module_is_in_a_room():
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in SOURCES} - {"__init__"}
    assert rooms <= FLOOR_OF.keys()
    assert not (PACKAGE / "msg").exists(), "messages stand in msg/ at the top; the Python module is generated"


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("monodvps_ros.losses.flow", "from monodvps_ros.network import MonoDVPS", "a floor that is not below"),
        ("monodvps_ros.data.bag", "def f():\n    import monodvps_ros.training.module", "a floor that is not below"),
        ("monodvps_ros.network.decoder", "from ..perception import grouping", "a floor that is not below"),
        ("monodvps_ros.geometry.warping", "from monodvps_ros import network", "a floor that is not below"),
        (
            "monodvps_ros.ros.nodes.perception_node",
            "from monodvps_ros.cli.demo import demo",
            "a floor that is not below",
        ),
        ("monodvps_ros.training.data", "from monodvps_ros.scenes import Drive", "a floor that is not below"),
        ("monodvps_ros.perception.cloud", "from monodvps_ros.msg import PanopticSegment", "a floor that is not below"),
        ("monodvps_ros.data.bag", "from monodvps_ros.utils import x", "in no room"),
        ("monodvps_ros.training.module", "import rclpy.node", "below ros"),
        ("monodvps_ros.perception.cloud", "from sensor_msgs.msg import PointCloud2", "below ros"),
        ("monodvps_ros.data.module", "import lightning", "below training"),
        ("monodvps_ros.ros.nodes.recorder", "from rosbags.rosbag2 import Writer", "only data.bag and scenes"),
        ("monodvps_ros.training.teacher", "import transformers", "only foundation"),
    ],
)
def test_a_forbidden_import_is_found(module, source, fault):
    (found,) = faults(source, module)
    assert fault in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("monodvps_ros.types", "from monodvps_ros.shapes import check_shapes"),
        ("monodvps_ros.losses.flow", "from monodvps_ros.losses import scales"),
        ("monodvps_ros.losses.flow", "from .scales import reduce"),
        ("monodvps_ros.cli.demo", "from monodvps_ros.ros.nodes.player import Player"),
        ("monodvps_ros.ros.topics.outputs", "from monodvps_ros.msg import PanopticSegments"),
        ("monodvps_ros.data.bag", "from rosbags.rosbag2 import Writer"),
        ("monodvps_ros.scenes.write", "import rosbags"),
        ("monodvps_ros.training.module", "import lightning"),
    ],
)
def test_an_allowed_import_passes(module, source):
    assert faults(source, module) == []
