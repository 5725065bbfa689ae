# SPDX-License-Identifier: Apache-2.0
"""docs/file_formats.md: every format, option, layout, file, key and topic that the readers know is on the page."""

import pkgutil
import re
from importlib import import_module
from pathlib import Path

from monodvps_ros.data import camera_file, formats
from monodvps_ros.data.bag.storage import SUFFIXES
from monodvps_ros.data.bag.topics import TRUTH_TOPICS
from monodvps_ros.data.formats import cityscapes_dvps, pseudo_labels, semkitti_dvps, video
from monodvps_ros.data.image_files import DEPTH_SCALE
from monodvps_ros.data.right_images import RIGHT_FOLDER

PAGE = (Path(__file__).parent.parent / "docs" / "file_formats.md").read_text()


def modules():
    names = [entry.name for entry in pkgutil.iter_modules(formats.__path__)]
    return {name: import_module(f"monodvps_ros.data.formats.{name}").FORMAT for name in names}


def test_every_format_has_a_row_with_its_options():
    listed = {}
    for line in PAGE.splitlines():
        found = re.match(r"\| \[(\w+)\]\(\.\./monodvps_ros/data/formats/(\w+)\.py\) \|.*\|([^|]*)\|$", line)
        if found:
            assert found[1] == found[2]
            listed[found[1]] = set(re.findall(r"`(\w+)`", found[3]))
    assert listed == {name: set(each.options) for name, each in modules().items()}


def test_every_layout_of_predictions_has_a_row():
    table = PAGE.partition("## Predictions")[2].partition("## Other files")[0]
    listed = {
        line.split("`")[1]: set(re.findall(r"`<frame>(\S+?)`", line))
        for line in table.splitlines()
        if line.startswith("| `") and "--format" not in line
    }
    layouts = [each.layout for each in modules().values() if each.layout is not None]
    assert listed.pop("bag") == set()
    assert listed == {each.name: {*each.panoptic_endings, each.depth_ending} for each in layouts}


def test_every_file_key_and_topic_is_named():
    dvps = [semkitti_dvps.CLASS, semkitti_dvps.INSTANCE, semkitti_dvps.IMAGE, cityscapes_dvps.LABEL]
    labels = [pseudo_labels.MANIFEST, pseudo_labels.METRIC, pseudo_labels.RELATIVE]
    named = [*dvps, *labels, *SUFFIXES, *video.VIDEO_SUFFIXES, *TRUTH_TOPICS.values(), *camera_file._KEYS]
    assert [name for name in [*named, f"{RIGHT_FOLDER}/"] if f"`{name}`" not in PAGE] == []


def test_factors_are_those_of_the_readers():
    assert f"metres times {DEPTH_SCALE:g}" in PAGE
    assert f"void is {cityscapes_dvps.VOID_IN_FILES}" in PAGE
    assert f"1/m times {pseudo_labels._METRIC_STEPS}" in PAGE
