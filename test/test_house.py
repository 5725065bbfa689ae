# SPDX-License-Identifier: Apache-2.0
"""Rules for every source file: its length, the length of its functions, and what belongs into ros/."""

import ast
from pathlib import Path

from test_floors import imports, nodes

from monodvps_ros.optional import is_of_ros

ROOT = Path(__file__).parent.parent
LONGEST_FILE = 400
LONGEST_FUNCTION = 60
SOURCES = sorted(
    path for folder in ("monodvps_ros", "launch", "tools", "test") for path in (ROOT / folder).rglob("*.py")
)


def long_functions(source: str) -> list[str]:
    """Functions and methods that are too long, each with its number of lines; decorators do not count."""
    functions = [node for node in nodes(source) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = [(node.name, node.end_lineno - node.lineno + 1) for node in functions]
    return [f"{name}: {lines} lines" for name, lines in lengths if lines > LONGEST_FUNCTION]


def without_ros(sources: dict[str, str]) -> list[str]:
    """Modules, by their dotted names, that need ROS neither themselves nor by a module of ros/ that they import."""
    found = {name: imports(source, name) for name, source in sources.items()}

    def needs_ros(name: str, seen: frozenset[str] = frozenset()) -> bool:
        if any(is_of_ros(used.partition(".")[0]) or used.startswith("monodvps_ros.msg") for used in found[name]):
            return True
        below = {other for used in found[name] for other in (used, used.rpartition(".")[0]) if other in found}
        return any(needs_ros(other, seen | {name}) for other in below - seen - {name})

    return [name for name in found if not needs_ros(name)]


def test_files_and_functions_are_short():
    sources = {str(path.relative_to(ROOT)): path.read_text() for path in SOURCES}
    lengths = {name: len(source.splitlines()) for name, source in sources.items()}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}
    assert {name: found for name, source in sources.items() if (found := long_functions(source))} == {}


def test_everything_in_ros_needs_ros():
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text()
        for path in SOURCES
        if "monodvps_ros/ros/" in path.as_posix() and path.name != "__init__.py"
    }
    assert len(modules) > 10
    assert without_ros(modules) == []


def test_a_long_function_is_found():
    body = "    x = 1\n" * LONGEST_FUNCTION
    assert long_functions(f"def f():\n{body}") == [f"f: {LONGEST_FUNCTION + 1} lines"]
    assert long_functions(f"def f():\n{body[:-10]}") == []
    assert long_functions(f"class A:\n  async def g(self):\n{body}") == [f"g: {LONGEST_FUNCTION + 1} lines"]


def test_a_module_without_ros_is_found():
    sources = {
        "monodvps_ros.ros.a": "import rclpy.node",
        "monodvps_ros.ros.b": "from monodvps_ros.ros.a import A",
        "monodvps_ros.ros.c": "def f():\n    from monodvps_ros.ros import b",
        "monodvps_ros.ros.d": "from monodvps_ros.msg import PanopticSegment",
        "monodvps_ros.ros.e": "import numpy\nfrom monodvps_ros.ros.f import F",
        "monodvps_ros.ros.f": "from monodvps_ros.ros.e import E",
    }
    assert without_ros(sources) == ["monodvps_ros.ros.e", "monodvps_ros.ros.f"]
