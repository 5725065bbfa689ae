# SPDX-License-Identifier: Apache-2.0
"""`camera.json`: the camera of a folder of images.

``{"width": 1242, "height": 375, "rate_hz": 10, "K": [721.5, 0, 609.6, 0, 721.5, 172.9, 0, 0, 1]}``, and where it is
known ``"camera_height_m": 1.65``, the camera's height above the road. K is row by row and may be missing. Of a
rectified stereo pair whose right images are in ``image_right/``, ``"baseline_m": 0.54`` is the distance between the two
cameras.
``"stills": true`` says that the images are apart in time: each is a sequence of its own.
Where the images have lens distortion, ``"distortion_model": "equidistant", "d": [0.1, -0.02, 0, 0]`` say so in the
words of sensor_msgs/CameraInfo, and it is removed as the node does; K is then that of the images as they are.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.errors import CameraInfoError, DataError, shortened, shown
from monodvps_ros.files import read_json, write_bytes
from monodvps_ros.geometry.calibration import Calibration
from monodvps_ros.geometry.camera_model import camera_model

CAMERA_FILE = "camera.json"
_KEYS = ("width", "height", "rate_hz", "K", "camera_height_m", "baseline_m", "stills", "distortion_model", "d")
_MOST_PIXELS = 1 << 16
_RATES_HZ = 0.001, 1_000_000


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
        distortion_model: name of the distortion model.
        d: its coefficients; empty where the images have no distortion.
    """

    size: tuple[int, int]
    rate_hz: float
    intrinsics: NDArray[np.float64] | None = None
    camera_height_m: float | None = None
    baseline_m: float | None = None
    stills: bool = False
    distortion_model: str = "plumb_bob"
    d: tuple[float, ...] = ()

    @property
    def calibration(self) -> Calibration | None:
        """Calibration of the images; None where K is not known."""
        if self.intrinsics is None:
            return None
        distortion = (self.distortion_model, self.d) if self.d else ()
        return Calibration.of_pinhole(self.intrinsics, self.size, *distortion)


def read_camera(path: Path) -> CameraFile:
    """Read a `camera.json`.

    Raises:
        DataError: it cannot be read as JSON, lacks a key, has an unknown one, or a value of the wrong kind or range; or
            K, the distortion model or its coefficients are none that `camera_model` takes.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise DataError(f"{path}: must contain keys and values but contains {type(values).__name__}")
    unknown = values.keys() - set(_KEYS)
    if unknown:
        raise DataError(f"{path}: unknown key '{shortened(min(unknown))}'; known are {', '.join(_KEYS)}")
    size = _whole(path, values, "height"), _whole(path, values, "width")
    lengths_m = {
        key: None if values.get(key) is None else _number(path, values, key)
        for key in ("camera_height_m", "baseline_m")
    }
    stills = values.get("stills", False)
    if not isinstance(stills, bool):
        raise DataError(f"{path}: 'stills' is {shown(stills)}; expected true or false")
    matrix = values.get("K")
    camera = CameraFile(
        size,
        _number(path, values, "rate_hz", *_RATES_HZ),
        None if matrix is None else _numbers(path, "K", matrix, 9).reshape(3, 3),
        **lengths_m,
        stills=stills,
        distortion_model=str(values.get("distortion_model", "plumb_bob")),
        d=tuple(_numbers(path, "d", values.get("d", [])).tolist()),
    )
    if camera.d and camera.intrinsics is None:
        raise DataError(f"{path}: has 'd' but no 'K'; give both")
    try:
        if camera.calibration is not None:
            camera_model(camera.calibration, camera.size, rectified=None)
    except CameraInfoError as error:
        raise DataError(f"{path}: {error}") from None
    return camera


def read_sequence_camera(folder: Path, sequence: str) -> CameraFile | None:
    """Read the ``<sequence>_camera.json`` of a folder, else its ``camera.json``; None where there is neither."""
    for path in (folder / f"{sequence}_{CAMERA_FILE}", folder / CAMERA_FILE):
        if path.is_file():
            return read_camera(path)
    return None


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
    if camera.d:
        values["distortion_model"], values["d"] = camera.distortion_model, list(camera.d)
    write_bytes(path, (json.dumps(values, indent=1) + "\n").encode())


def _number(
    path: Path, values: dict[str, object], key: str, least: float = 0.0, most: float = sys.float_info.max
) -> float:
    value = values.get(key)
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else 0
    if not (number > 0 and least <= number <= most):
        got = f"is {shown(value)}" if key in values else "is missing"
        raise DataError(f"{path}: '{key}' {got}; expected a number {f'{least}..{most}' if least else 'above 0'}")
    return float(number)


def _whole(path: Path, values: dict[str, object], key: str) -> int:
    number = _number(path, values, key)
    if number != int(number) or number > _MOST_PIXELS:
        raise DataError(f"{path}: '{key}' is {shown(values[key])}; expected a whole number, 1..{_MOST_PIXELS}")
    return int(number)


def _numbers(path: Path, key: str, value: object, count: int | None = None) -> NDArray[np.float64]:
    try:
        numbers = np.asarray(value, np.float64).ravel()
    except (TypeError, ValueError, OverflowError):
        numbers = np.full(1, np.nan)
    if not np.isfinite(numbers).all() or count not in {None, len(numbers)}:
        expected = "finite numbers" if count is None else "nine finite numbers, row by row"
        raise DataError(f"{path}: '{key}' is {shown(value)}; expected {expected}")
    return numbers
