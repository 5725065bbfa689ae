# SPDX-License-Identifier: Apache-2.0
"""README and docs: links that lead somewhere, and nothing left out of what they list."""

import re
from pathlib import Path

import pytest

from monodvps_ros.cli.main import COMMANDS
from monodvps_ros.demo.report import NodeCounts, RecordedTopic, make_report
from monodvps_ros.evaluation.result import FIGURES

ROOT = Path(__file__).parent.parent
PAGES = [
    "README.md",
    "docs/demo.md",
    "docs/drives.md",
    "docs/evaluation.md",
    "docs/file_formats.md",
    "docs/recordings.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


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


def test_the_picture_is_small():
    assert (ROOT / "docs" / "pictures" / "demo.png").stat().st_size < 400_000
