# SPDX-License-Identifier: Apache-2.0
"""`camera.json`: the camera of a folder of images.

``{"width": 1242, "height": 375, "rate_hz": 10, "K": [721.5, 0, 609.6, 0, 721.5, 172.9, 0, 0, 1]}``, and where it is
known ``"camera_height_m": 1.65``, the camera's height above the road. K is row by row and may be missing. Of a
rectified stereo pair whose right images are in ``image_right/``, ``"baseline_m": 0.54`` is the distance between the two
cameras.
``"stills": true`` says that the images are apart in time: each is a sequence of its own.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.image_files import write_bytes
from monodvps_ros.errors import DataError

CAMERA_FILE = "camera.json"
_KEYS = ("width", "height", "rate_hz", "K", "camera_height_m", "baseline_m", "stills")


@dataclass(frozen=True, eq=False, slots=True)
class CameraFile:
    """What a `camera.json` says.

    Attributes:
        size: height and width of the images.
        rate_hz: images per second.
        intrinsics: (3, 3) K in pixels of the images; None where it is not known.
        camera_height_m: of the camera above the road; None where it is not known.
        baseline_m: from this camera to the right one of a rectified stereo pair; None where there is none.
        stills: whether the images are apart in time, so that none follows another.
    """

    size: tuple[int, int]
    rate_hz: float
    intrinsics: NDArray[np.float64] | None = None
    camera_height_m: float | None = None
    baseline_m: float | None = None
    stills: bool = False


def read_camera(path: Path) -> CameraFile:
    """Read a `camera.json`.

    Raises:
        DataError: it cannot be read as JSON, lacks a key, has an unknown one, or a value of the wrong kind or range.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(values, dict):
        raise DataError(f"{path}: must hold keys and values but holds {type(values).__name__}")
    unknown = values.keys() - set(_KEYS)
    if unknown:
        raise DataError(f"{path}: unknown key '{min(unknown)}'; known are {', '.join(_KEYS)}")
    size = _number(path, values, "height"), _number(path, values, "width")
    lengths_m = {
        key: None if values.get(key) is None else _number(path, values, key)
        for key in ("camera_height_m", "baseline_m")
    }
    stills = values.get("stills", False)
    if not isinstance(stills, bool):
        raise DataError(f"{path}: 'stills' is {stills!r}; expected true or false")
    matrix = values.get("K")
    return CameraFile(
        (int(size[0]), int(size[1])),
        _number(path, values, "rate_hz"),
        None if matrix is None else _matrix(path, matrix),
        **lengths_m,
        stills=stills,
    )


def write_camera(path: Path, camera: CameraFile) -> None:
    """Write a `camera.json`.

    Raises:
        DataError: it cannot be written.
    """
    values: dict[str, object] = {"width": camera.size[1], "height": camera.size[0], "rate_hz": camera.rate_hz}
    if camera.intrinsics is not None:
        values["K"] = np.asarray(camera.intrinsics, np.float64).ravel().tolist()
    if camera.camera_height_m is not None:
        values["camera_height_m"] = camera.camera_height_m
    if camera.baseline_m is not None:
        values["baseline_m"] = camera.baseline_m
    if camera.stills:
        values["stills"] = True
    write_bytes(path, (json.dumps(values, indent=1) + "\n").encode())


def _number(path: Path, values: dict[str, object], key: str) -> float:
    value = values.get(key)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not (math.isfinite(value) and value > 0):
        got = f"is {value!r}" if key in values else "is missing"
        raise DataError(f"{path}: '{key}' {got}; expected a number above 0")
    return float(value)


def _matrix(path: Path, value: object) -> NDArray[np.float64]:
    try:
        matrix = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        matrix = np.zeros(0)
    if matrix.size != 9 or not np.isfinite(matrix).all():
        raise DataError(f"{path}: 'K' is {value!r}; expected nine finite numbers, row by row")
    matrix = matrix.reshape(3, 3)
    if matrix[0, 0] <= 0 or matrix[1, 1] <= 0 or matrix[2].tolist() != [0, 0, 1]:
        raise DataError(f"{path}: 'K' is {value!r}; expected focal lengths above 0 and a last row of 0, 0, 1")
    return matrix
