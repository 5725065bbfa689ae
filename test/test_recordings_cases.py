# SPDX-License-Identifier: Apache-2.0
"""Inputs that failed for users of such tools, from a folder of them that MONODVPS_CASES names; skipped without one.

Other tests rebuild each input, those without a file included; here the files themselves are read.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from monodvps_ros.data import open_source
from monodvps_ros.data.reading import ReadableSamples
from monodvps_ros.errors import DataError


@dataclass(frozen=True)
class Case:
    """What is to be read of an input.

    Attributes:
        frames: that are read.
        said: what its length says, where that is more.
        told: what is told of damage; empty where there is none.
        k: whether the camera's K is known.
        logged: part of a warning.
        refused: part of the error, where nothing is read.
    """

    frames: int = 0
    said: int = 0
    told: str = ""
    k: bool = True
    logged: str = ""
    refused: str = ""


CASES = {
    "01_mcap_without_message_index/input.mcap": Case(5),
    "03_one_repeated_stamp/input": Case(5, 6, "skipped: 1 stamp repeats the one before"),
    "06_original_cityscapes_instance_train_ids/truth": Case(refused="is instance 1 of 'road', which is stuff"),
    "07_fisheye_recording_through_play/input": Case(20),
    "08_mcap_with_one_foreign_topic/input.mcap": Case(4),
    "10_webm_without_duration/input.webm": Case(10, k=False),
    "11_mpeg_with_wrong_frame_count/input.mpg": Case(10, k=False),
    "13_sqlite_path_with_percent_or_hash/input": Case(3),
    "15_mcap_schemas_not_repeated/input.mcap": Case(5),
    "18_camera_info_of_size_zero/info00": Case(3),
    "18_camera_info_of_size_zero/info_nan": Case(3, k=False, logged="K is not finite"),
    "19_apple_double_files/imgs": Case(3, k=False),
    "21_compressed_without_metadata/file": Case(3),
    "21_compressed_without_metadata/message": Case(3),
    "22_no_home/input": Case(3, k=False, logged="K is not calibrated"),
    "25_encoding_not_named/8UC1": Case(3),
    "25_encoding_not_named/nv12": Case(3),
    "26_stamps_all_zero/input": Case(6, logged="the time of their receipt is taken"),
}
#: Their inputs are made by the tests of the modules named.
MADE = {
    "05_camera_info_without_stamp_memory": "test_data_camera",
    "16_camera_matrix_that_no_camera_has": "test_geometry_camera",
    "24_equidistant_with_five_coefficients": "test_geometry_camera",
    "27_kitti2bag_raw_sync": "test_geometry_camera",
}


@pytest.fixture(scope="module")
def cases():
    folder = Path(os.environ.get("MONODVPS_CASES", ROOT.parent / "shared/cases"))
    if not folder.is_dir():
        pytest.skip(f"no inputs at {folder}; MONODVPS_CASES names another folder")
    return folder


@pytest.mark.parametrize("name", CASES)
def test_the_input_of_a_report(cases, tmp_path, caplog, name):
    case, path = CASES[name], cases / name
    if name.startswith("13"):
        path = shutil.copytree(path, tmp_path / "run #3 a%20b")
    if case.refused:
        with pytest.raises(DataError, match=case.refused):
            list(ReadableSamples(open_source(path), "the input"))
        return
    source = open_source(path)
    assert len(source) == (case.said or case.frames)
    samples = ReadableSamples(source, "the input")
    frames = [sample.frame for sample in samples]
    assert len(frames) == case.frames
    assert [case.told in sentence for sentence in samples.damage] == ([True] if case.told else [])
    assert {frame.intrinsics is not None for frame in frames} == {case.k}
    assert all(np.diff([frame.stamp_ns for frame in frames]) > 0)
    assert case.logged in caplog.text
    if name.startswith("07"):
        assert {(f.calibration.distortion_model, *f.calibration.d) for f in frames} == {
            ("equidistant", 0.1, -0.02, 0.001, 0)
        }


def test_each_report_is_covered(cases):
    known = {name.partition("/")[0] for name in CASES} | MADE.keys()
    assert {path.name for path in cases.iterdir() if path.name[0].isdigit()} <= known
    assert all((Path(__file__).parent / f"{module}.py").is_file() for module in MADE.values())
