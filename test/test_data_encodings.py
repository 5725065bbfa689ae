# SPDX-License-Identifier: Apache-2.0
"""Labels and depth whose encoding looks like the one that is expected: refused or warned of, by name."""

import logging

import cv2
import numpy as np
import pytest
from bag_files import stamps

from monodvps_ros.data import open_source
from monodvps_ros.data.bag import BagWriter
from monodvps_ros.data.checks import check_classes, check_panoptic, depth_problem
from monodvps_ros.data.depth_images import BagDepthImages
from monodvps_ros.errors import DataError
from monodvps_ros.labels import CITYSCAPES, SEMKITTI

SIZE = (6, 8)
TRAIN_IDS = r"original Cityscapes \*_gtFine_instanceTrainIds"
LABEL_IDS = r"Cityscapes \*_labelIds or \*_instanceIds"


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), values)


def cityscapes_dvps(path, values):
    name = str(path / "000000_000000_ulm_000000_000019")
    write(path / f"{name}_leftImg8bit.png", np.zeros((*SIZE, 3), np.uint8))
    write(path / f"{name}_gtFine_instanceTrainIds.png", values)


def folder(path, values):
    write(path / "image/a.png", np.zeros((*SIZE, 3), np.uint8))
    write(path / "panoptic/a.png", values)


def panoptic(*ids):
    """A (6, 8) map that begins with some ids and goes on with the last."""
    return np.array([*ids, *[ids[-1]] * (48 - len(ids))], np.uint16).reshape(SIZE)


@pytest.mark.parametrize("layout", [cityscapes_dvps, folder])
@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ((0, 2, 8, 10, 255, 13002, 11005), f"id 2 is instance 2 of 'road', which is stuff; .*{TRAIN_IDS}"),
        ((255,), f"id 255 is instance 255 of 'road', .*{TRAIN_IDS}"),
        ((7, 11, 21, 23), f"id 7 is instance 7 of 'road', .*{LABEL_IDS}"),
        ((7, 23, 26001, 24003), f"id 24003 is of class 24, .*{LABEL_IDS}"),
        ((0, 8000, 10044), r"id 10044 is instance 44 of 'sky', which is stuff; expected class \* 1000 for stuff$"),
    ],
)
def test_panoptic_maps_of_another_encoding_are_refused(tmp_path, layout, ids, words):
    layout(tmp_path, panoptic(*ids))
    with pytest.raises(DataError, match=f"a.*png: panoptic {words}"):
        list(open_source(tmp_path))


@pytest.mark.parametrize("layout", [cityscapes_dvps, folder])
def test_stuff_without_and_things_with_and_without_instance_are_read(tmp_path, layout):
    layout(tmp_path, panoptic(0, 1000, 10000, 11000, 13001, 18999))
    (sample,) = open_source(tmp_path)
    assert np.unique(sample.truth.panoptic).tolist() == [0, 1000, 10000, 11000, 13001, 18999]


def test_label_space_that_begins_with_things():
    check_panoptic(panoptic(1, 40, 7001, 8000, 65535), SEMKITTI, "map")  # cars 1 and 40, a motorcyclist, road, void
    with pytest.raises(DataError, match="map: panoptic id 8002 is instance 2 of 'road', which is stuff"):
        check_panoptic(panoptic(1, 8002), SEMKITTI, "map")


def test_classes_of_another_encoding_are_refused():
    check_classes(np.array([0, 18, 255]), SEMKITTI, "map")
    with pytest.raises(
        DataError, match=r"map: contains class 40; .* has 0\.\.18 and 255 for void; .*SemanticKITTI's raw"
    ):
        check_classes(np.array([0, 10, 40, 70, 252]), SEMKITTI, "map")
    with pytest.raises(DataError, match=r"contains class 19; label space 'semkitti' has 0\.\.18 and 255 for void$"):
        check_classes(np.array([0, 19]), SEMKITTI, "map")
    with pytest.raises(DataError, match="contains class 19; label space 'cityscapes'"):
        check_classes(np.array([19]), CITYSCAPES, "map")


@pytest.mark.parametrize(
    ("metres", "is_told"),
    [
        ([0.5, 200, np.nan], False),
        ([0.49, 0.49, 100], True),
        ([201, 250, 3], True),
        ([0.1, 10, 255], False),
        ([np.nan, np.inf], False),
        ([], False),
    ],
)
def test_medians_of_depth(metres, is_told):
    assert bool(depth_problem(np.array(metres, np.float32))) == is_told


def test_depth_of_another_factor_is_told_once(tmp_path, caplog):
    for name in "abc":
        write(tmp_path / f"image/{name}.png", np.zeros((*SIZE, 3), np.uint8))
        steps = 2560 if name == "a" else 60_000  # 10 m times 256; 12 m times 5000, which is read as 234 m
        write(tmp_path / f"depth/{name}.png", np.full(SIZE, steps, np.uint16))
    with caplog.at_level(logging.WARNING):
        assert len(list(open_source(tmp_path, rate_hz=2))) == 3
    told = [record.getMessage() for record in caplog.records if "median depth" in record.getMessage()]
    assert len(told) == 1
    assert "at 1500000000 ns: the median depth is 234 m, expected 0.5 to 200 m" in told[0]


def test_a_depth_topic_of_another_factor_is_told_once(tmp_path, caplog):
    with BagWriter(tmp_path / "bag") as writer:
        for stamp in stamps(3):
            writer.image("/cam/image_raw", stamp, "cam", np.zeros((*SIZE, 3), np.uint8), "rgb8")
            writer.image("/cam/depth", stamp, "cam", np.full(SIZE, 2500, np.float32), "32FC1")  # millimetres
    depth = BagDepthImages(tmp_path / "bag", "/cam/depth", 0.02)
    with caplog.at_level(logging.WARNING):
        assert [
            float(depth.of(sample)[0, 0]) for sample in open_source(tmp_path / "bag", image_topic="/cam/image_raw")
        ] == [2500] * 3
    (told,) = [record.getMessage() for record in caplog.records if "median depth" in record.getMessage()]
    assert "depth of /cam/depth: the median depth is 2.5e+03 m, expected 0.5 to 200 m" in told


def test_images_of_other_encodings_are_named_with_those_accepted(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        writer.image("/cam/depth", 1, "cam", np.zeros(SIZE, np.float32), "32FC1")
        writer.image("/cam/labels", 1, "cam", np.zeros(SIZE, np.uint16), "16UC1")
    words = (
        r"contains no camera images .*; /cam/depth: encoding '32FC1' is not one of rgb8, .*, nv12, nv21; "
        r"/cam/labels: encoding '16UC1' is not one of rgb8, .*, nv21; its topics: /cam/depth \(sensor_msgs/msg/Image\)"
    )
    with pytest.raises(DataError, match=words):
        open_source(tmp_path / "bag")


def test_8uc1_is_read_as_grey_and_is_not_the_camera_beside_a_colour_image(tmp_path):
    with BagWriter(tmp_path / "infrared") as writer:
        writer.image("/cam/infra1", 1, "cam", np.full(SIZE, 77, np.uint8), "8UC1")
    (sample,) = open_source(tmp_path / "infrared")
    assert (sample.frame.image == 77).all()
    with BagWriter(tmp_path / "labelled") as writer:
        writer.image("/cam/labels", 1, "cam", np.zeros(SIZE, np.uint8), "8UC1")
        writer.image("/cam/image_raw", 1, "cam", np.zeros((*SIZE, 3), np.uint8), "rgb8")
    assert open_source(tmp_path / "labelled").topics.image == "/cam/image_raw"


def test_nv12_of_a_recording(tmp_path):
    rows = np.full((9, 8), 128, np.uint8)  # 6 rows of Y and 3 of U and V: grey
    fields = {"height": 6, "width": 8, "encoding": "nv12", "is_bigendian": 0, "step": 8, "data": rows.reshape(-1)}
    with BagWriter(tmp_path / "bag") as writer:
        writer.message("/cam/image_raw", "sensor_msgs/msg/Image", 1, "cam", fields)
    (sample,) = open_source(tmp_path / "bag")
    assert sample.frame.image.shape == (6, 8, 3)
    assert np.unique(sample.frame.image).tolist() == [130]  # (128 - 16) * 255 / 219
