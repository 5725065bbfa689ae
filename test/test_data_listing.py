# SPDX-License-Identifier: Apache-2.0
"""Files that copying a folder leaves in it are no data, in any format; names with capitals are."""

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_files import stamps, storage_file, write_frames

from monodvps_ros import data
from monodvps_ros.data import open_source
from monodvps_ros.data.formats import prediction_layout
from monodvps_ros.data.formats.cityscapes_dvps import CityscapesDvpsWriter
from monodvps_ros.data.image_files import list_images
from monodvps_ros.data.listing import entries, list_folder, missing_numbers
from monodvps_ros.data.predictions import open_predictions, write_prediction
from monodvps_ros.types import CameraFrame, FrameTruth, Sample

SIZE = (6, 8)
LISTS = re.compile(r"\.(iterdir|glob|rglob)\(|os\.(listdir|scandir|walk)\(")
PICTURE = np.zeros((*SIZE, 3), np.uint8)


def litter(folder):
    """Put into a folder, and into each below it, what macOS, Windows and network drives leave behind."""
    for each in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        for file in [path for path in each.iterdir() if path.is_file()]:
            (each / f"._{file.name}").write_bytes(b"\0\5\x16\7Mac OS X")
        for name in (".DS_Store", "Thumbs.db", "desktop.ini", "Icon\r", ".nfs000a", "ehthumbs.db"):
            (each / name).write_bytes(b"x")
        for name in ("@eaDir", ".Trashes", "$RECYCLE.BIN", "System Volume Information", "lost+found", "#recycle"):
            (each / name).mkdir()
            (each / name / "a.png").write_bytes(b"x")
            (each / name / "a.mcap").write_bytes(b"x")


def folder_of_images(path):
    for kind, values in (("image", PICTURE), ("panoptic", np.full(SIZE, 13001, np.uint16))):
        (path / kind).mkdir(parents=True)
        for name in ("1.png", "2.PNG", "10.png"):
            cv2.imwrite(str(path / kind / name), values)


def semkitti(path):
    path.mkdir()
    for kind, values in (("leftImg8bit", PICTURE), ("depth_700.0", np.full(SIZE, 512, np.uint16))):
        for number in range(3):
            cv2.imwrite(str(path / f"000008_{number:06d}_{kind}.png"), values)


def cityscapes(path):
    writer = CityscapesDvpsWriter(path, 5)
    for index in range(3):
        truth = FrameTruth(np.full(SIZE, 13001, np.uint16), np.ones(SIZE, np.float32))
        writer.add(Sample(CameraFrame(PICTURE, 1 + index), truth, "x", index))


def recordings(path):
    write_frames(path / "drive_1", stamps(2))
    write_frames(path / "drive_2", stamps(1))


def recording_without_metadata(path):
    shutil.copytree(write_frames(path.with_name("whole"), stamps(3)), path, ignore=lambda *_: ["metadata.yaml"])


@pytest.mark.parametrize(
    "write", [folder_of_images, semkitti, cityscapes, recordings, recording_without_metadata], ids=lambda f: f.__name__
)
def test_what_copies_leave_is_no_data(tmp_path, write):
    write(tmp_path / "data")
    clean = [(s.sequence, s.index, s.frame.stamp_ns, s.frame.image.tobytes()) for s in open_source(tmp_path / "data")]
    litter(tmp_path / "data")
    found = [(s.sequence, s.index, s.frame.stamp_ns, s.frame.image.tobytes()) for s in open_source(tmp_path / "data")]
    assert found == clean and len(found) == 3


def test_predictions_are_those_without_what_copies_leave(tmp_path):
    layout = prediction_layout("semkitti-dvps")
    for name in ("pan", "dep"):
        (tmp_path / name).mkdir()
    zeros = np.zeros(SIZE, np.uint8)
    write_prediction(tmp_path, "000008_000000", layout, zeros, zeros, np.ones(SIZE, np.float32))
    litter(tmp_path)
    assert [frame.name for frame in open_predictions(tmp_path, "semkitti-dvps")] == ["000008_000000"]


def test_a_storage_file_beside_its_double_is_one_recording(tmp_path):
    file = storage_file(write_frames(tmp_path / "bag", stamps(2)))
    litter(tmp_path / "bag")
    assert len(list(open_source(tmp_path / "bag"))) == len(list(open_source(file))) == 2


def test_labels_with_capitals_are_read(tmp_path):
    folder_of_images(tmp_path / "data")
    shutil.rmtree(tmp_path / "data/panoptic")
    (tmp_path / "data/label").mkdir()
    for name in ("1.PNG", "2.PNG"):
        cv2.imwrite(str(tmp_path / "data/label" / name), np.full(SIZE, 3, np.uint8))
    (tmp_path / "data/labels.yaml").write_text("values: {3: car}")
    truths = [sample.truth.panoptic for sample in open_source(tmp_path / "data")]
    assert [None if truth is None else int(truth[0, 0]) for truth in truths] == [13000, 13000, None]


def test_names_that_count(tmp_path):
    for name in ("b10.JPG", "b9.jpeg", "a.PNG", "c.Tiff", "d.txt", "._a.PNG", ".DS_Store", "THUMBS.DB", "Desktop.ini"):
        (tmp_path / name).touch()
    (tmp_path / "__MACOSX").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["a.PNG", "b9.jpeg", "b10.JPG", "c.Tiff"]
    assert [path.name for path in list_folder(tmp_path, [".txt"])] == ["d.txt"]
    assert {path.name for path in entries(tmp_path)} == {"a.PNG", "b9.jpeg", "b10.JPG", "c.Tiff", "d.txt"}


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["0000", "0001", "0005", "0006"], 3),
        (["f1", "f2", "f3", "f9"], 5),
        (["000", "005", "010", "020", "025"], 1),  # each fifth
        (["0", "1", "2", "3"], 0),
        (["000000_10", "000000_11", "000001_10", "000001_11"], 0),  # the number before counts, too
        (["3", "40", "41", "97"], 0),  # picked
        (["1403636579763555584", "1403636579813555456", "1403636579863555584"], 0),  # times
        (["a", "b"], 0),
        (["1"], 0),
        ([], 0),
    ],
)
def test_numbers_that_are_missing(names, missing):
    assert missing_numbers([Path(f"{name}.png") for name in names]) == missing


def test_images_that_are_missing_are_told(tmp_path, caplog):
    for number in (0, 1, 4, 5):
        cv2.imwrite(str(tmp_path / f"{number:04d}.png"), PICTURE)
    assert len(list(open_source(tmp_path))) == 4
    assert "by their numbers 2 images are missing" in caplog.text
    caplog.clear()
    camera = {"width": SIZE[1], "height": SIZE[0], "rate_hz": 10, "stills": True}
    (tmp_path / "camera.json").write_text(json.dumps(camera))
    assert len(list(open_source(tmp_path))) == 4
    assert "missing" not in caplog.text


def test_data_are_listed_in_one_place():
    listing = [path.name for path in Path(data.__file__).parent.rglob("*.py") if LISTS.search(path.read_text())]
    assert listing == ["listing.py"]
