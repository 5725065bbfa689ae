# SPDX-License-Identifier: Apache-2.0
"""`camera.json` of a folder of images: what it may hold, and what is refused."""

import json

import numpy as np
import pytest

from monodvps_ros.data.camera_file import CameraFile, read_camera, write_camera
from monodvps_ros.errors import DataError

K = [[4.0, 0, 3.5], [0, 5.0, 2.5], [0, 0, 1]]
CAMERA = {"width": 8, "height": 6, "rate_hz": 4, "K": np.ravel(K).tolist(), "camera_height_m": 1.2}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"K": [1, 2]}, r"'K' is \[1, 2\]; expected nine finite numbers"),
        ({"K": [0] * 9}, "expected focal lengths above 0"),
        ({"K": "wide"}, "expected nine finite numbers"),
        ({"rate_hz": 0}, "'rate_hz' is 0; expected a number 0.001..1000000"),
        ({"rate_hz": 1e-300}, "'rate_hz' is 1e-300"),
        ({"rate_hz": 10**400}, "'rate_hz' is 1000"),
        ({"width": 8.5}, r"'width' is 8\.5; expected a whole number, 1\.\.65536"),
        ({"height": 10**300}, "'height' is 1000"),
        ({"K": [10**400] * 9}, "expected nine finite numbers"),
        ({"rate_hz": True}, "'rate_hz' is True"),
        ({"width": None}, "'width' is None"),
        ({"fx": 3}, "unknown key 'fx'; known are width, height"),
        ({"camera_height_m": -1}, "'camera_height_m' is -1"),
    ],
)
def test_camera_file_refusals(tmp_path, change, words):
    path = tmp_path / "camera.json"
    path.write_text(json.dumps({**CAMERA, **change}))
    with pytest.raises(DataError, match=words):
        read_camera(path)


@pytest.mark.parametrize(
    ("text", "words"), [("{", "cannot be read as JSON"), ("[]", "must contain keys"), ("{}", "missing")]
)
def test_camera_file_that_is_none(tmp_path, text, words):
    (tmp_path / "camera.json").write_text(text)
    with pytest.raises(DataError, match=words):
        read_camera(tmp_path / "camera.json")


def test_camera_file_round_trip(tmp_path):
    write_camera(tmp_path / "camera.json", CameraFile((6, 8), 4.0, np.array(K), 1.2))
    assert json.loads((tmp_path / "camera.json").read_text()) == CAMERA
    write_camera(tmp_path / "camera.json", CameraFile((6, 8), 4.0))
    assert read_camera(tmp_path / "camera.json").intrinsics is None
