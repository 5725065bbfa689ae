# SPDX-License-Identifier: Apache-2.0
"""Label images of any data set, and the YAML that says what their values mean."""

import logging

import cv2
import numpy as np
import pytest

from monodvps_ros.data import open_source
from monodvps_ros.data.image_files import write_image
from monodvps_ros.data.label_file import read_label_file
from monodvps_ros.errors import DataError
from monodvps_ros.labels import CITYSCAPES, ClassGroups

SIZE = (6, 8)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "image").mkdir()
    for number in (1, 2):
        write_image(tmp_path / "image" / f"frame_{number}.png", np.full((*SIZE, 3), number, np.uint8))
    return tmp_path


def test_folder_labels_of_another_data_set(folder, caplog):
    (folder / "label").mkdir()
    cv2.imwrite(str(folder / "label/frame_1.png"), np.tile(np.arange(3, dtype=np.uint8), (6, 3))[:, :8])
    with caplog.at_level(logging.WARNING):
        assert next(iter(open_source(folder))).truth.panoptic is None
    assert "has no labels.yaml: label/ is read by" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        open_source(folder, label_file=folder / "elsewhere.yaml")
    assert "labels.yaml" not in caplog.text
    labels = folder / "labels.yaml"
    labels.write_text("values: {0: sky, 1: car, 2: null}")
    assert next(iter(open_source(folder))).truth.panoptic[0, :3].tolist() == [10000, 13000, 65535]
    labels.write_text("values: {0: [sky, building], 1: car, 2: other}")
    assert next(iter(open_source(folder))).truth.panoptic[0, :3].tolist() == [65535, 13000, 65535]
    labels.write_text("values: {0: sky, 1: car}")
    with pytest.raises(DataError, match=r"frame_1\.png: contains label 2, which .*labels\.yaml does not name"):
        next(iter(open_source(folder)))
    for text, words in (
        ("values: {0: heaven}", "no class 'heaven'"),
        ("values: {}", "must say what each label value means"),
        ("values: {300: sky}", r"label value 300 is not an integer 0\.\.255"),
        ("values: {0: [sky, car], 1: car}", "value 1 names 'car': a class may be in one group only"),
        ("values: {0: [sky, sky]}", "a class may be in one group only, once"),
        ("colour: red", "must contain 'values', 'moving' or both"),
        ("{}", "must contain"),
        ("[", "cannot be read as YAML"),
    ):
        labels.write_text(text)
        with pytest.raises(DataError, match=r"labels\.yaml: .*" + words):
            open_source(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("folder: labels\nvalues: {0: sky}", "'folder' is 'labels'"),
        ("values: {0: sky}\nmoving: cars", "'moving' is 'cars'"),
        ("values: {0: sky}\nmoving: [label, label]", r"'moving' is \['label', 'label'\]"),
        ("folder: null\nvalues: {0: sky}", "'folder' is None"),
        ("folder: 7\nvalues: {0: sky}", "'folder' is 7"),
    ],
)
def test_a_folder_of_labels_that_is_not_there_is_an_error(folder, text, words):
    (folder / "label").mkdir()
    (folder / "labels.yaml").write_text(text)
    with pytest.raises(DataError, match=rf"labels\.yaml: {words}; expected the name of a folder in "):
        open_source(folder)


def test_labels_by_groups_and_masks_of_what_moves(folder):
    for name, value in (("semantic", 5), ("cars", 2)):
        (folder / name).mkdir()
        cv2.imwrite(str(folder / name / "frame_2.png"), np.full(SIZE, value, np.uint8))
    path = folder / "elsewhere.yaml"
    path.write_text("folder: semantic\nvalues: {3: road, 4: other, 5: [truck, car], 6: null, 7: road}\nmoving: cars\n")
    labels = read_label_file(path, CITYSCAPES, folder)
    assert labels.groups == ClassGroups(("road", "car + truck"), ((0,), (13, 14)))
    assert labels.table[[3, 4, 5, 6, 7]].tolist() == [0, 254, 1, 255, 0]
    assert (labels.read_groups(folder, "frame_2", SIZE) == 1).all()
    assert (labels.read_moving(folder, "frame_2", SIZE) == 1).all()
    assert labels.read_groups(folder, "frame_1", SIZE) is labels.read_moving(folder, "frame_1", SIZE) is None
    with pytest.raises(DataError, match=r"frame_2\.png: is 6 x 8"):
        labels.read_groups(folder, "frame_2", (5, 8))
