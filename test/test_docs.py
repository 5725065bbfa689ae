# SPDX-License-Identifier: Apache-2.0
"""README and docs: links and paths that lead somewhere, and nothing left out of what they list."""

import re
from pathlib import Path

import pytest
from test_floors import FLOORS, WITHIN_FLOOR

from monodvps_ros.cli.application import COMMANDS
from monodvps_ros.demo.report import NodeCounts, RecordedTopic, make_report
from monodvps_ros.evaluation.result import FIGURES

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *ROOT.glob("config/*/*.md"),
        *ROOT.glob("monodvps_ros/weights/*.md"),
    )
)
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


def found(path):
    message = path.replace("monodvps_ros", "msg", 1) + ".msg"
    return any(list(ROOT.glob(name)) for name in (path, f"{path}.py", message))


@pytest.mark.parametrize("page", PAGES)
def test_paths_and_modules_that_a_page_names_exist(page):
    text = (ROOT / page).read_text()
    paths = re.findall(r"(?<![\w/.-])(?:monodvps_ros|config|launch|test|tools|msg)/[\w./*-]*\w", text)
    paths += [name.replace(".", "/") for name in re.findall(r"-m (monodvps_ros[\w.]+\w)", text)]
    assert [path for path in paths if not found(path)] == []


def test_the_index_lists_every_page_once():
    listed = re.findall(r"^\| \[(\S+)\]\(\1\) \| .+ \|$", (ROOT / "docs" / "index.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name != "index.md")


def test_the_readme_links_to_the_pages_to_start_from():
    for page in ("docs/index.md", "docs/architecture.md", "CONTRIBUTING.md"):
        assert f"]({page})" in (ROOT / "README.md").read_text()


def test_the_drawn_floors_are_the_tested_ones():
    (drawing,) = re.findall(r"```text\n(.*?)```", ARCHITECTURE, re.DOTALL)
    rows = [re.split(r"\s{3,}", line)[0].split() for line in drawing.splitlines() if not line.startswith("─")]
    assert [set(row) for row in reversed(rows)] == FLOORS


def test_the_imports_within_a_floor_are_the_tested_ones():
    drawn = set()
    for importers, imported in re.findall(
        r"((?:`\w+`(?: and\s)?)+) may\s+import\s+((?:`\w+`(?:, | and )?)+)", ARCHITECTURE
    ):
        drawn |= {
            (one, other)
            for one in re.findall(r"\w+", importers.replace("and", ""))
            for other in re.findall(r"`(\w+)`", imported)
        }
    assert drawn == WITHIN_FLOOR


def test_the_modules_in_the_diagrams_exist():
    modules = [
        name
        for diagram in re.findall(r"```mermaid\n(.*?)```", ARCHITECTURE, re.DOTALL)
        for name in re.findall(r"\[(\w+(?:/\w+)+)\]", diagram)
    ]
    assert len(modules) > 10
    assert [name for name in modules if not (ROOT / "monodvps_ros" / f"{name}.py").is_file()] == []


def test_readme_lists_every_command():
    listed = re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert dict(listed) == {name: text.rstrip(".") for name, (_, text) in COMMANDS.items()}


def test_test_files_that_the_readme_names_exist():
    for pattern in re.findall(r"pytest ((?:test/\S+ ?)+)`", (ROOT / "README.md").read_text()):
        for name in pattern.split():
            assert list(ROOT.glob(name)), name


def test_every_key_of_the_report_is_described():
    node = NodeCounts(1, 1, 0, {}, "cpu", "random")
    outputs = {"/depth/image": RecordedTopic("sensor_msgs/msg/Image", "32FC1", [0], [5])}
    report = make_report("a drive", [(0, 1)], node, outputs)
    keys = [*report, *report["outputs"]["/depth/image"], *report["latency_ms"]]
    keys += ["metrics", "drive", "card", "split", *FIGURES]
    text = "".join((ROOT / "docs" / name).read_text() for name in ("demo.md", "evaluation.md"))
    assert [key for key in keys if f"`{key}`" not in text] == []


@pytest.mark.parametrize("name", ["demo.jpg", "street.jpg"])
def test_pictures_are_small(name):
    assert (ROOT / "docs" / "pictures" / name).stat().st_size < 400_000
