# SPDX-License-Identifier: Apache-2.0
"""The right images that belong to the left ones of a recording."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.camera_file import CAMERA_FILE, read_camera
from monodvps_ros.data.checks import check_size
from monodvps_ros.data.image_files import list_images, read_picture
from monodvps_ros.errors import DataError
from monodvps_ros.types import Sample

RIGHT_FOLDER = "image_right"


@dataclass(frozen=True, eq=False, slots=True)
class RightImage:
    """The right image of a rectified stereo pair.

    Attributes:
        image: (H, W, 3) uint8, red, green, blue, of the size of the left one.
        baseline_m: from the left camera to the right one.
    """

    image: NDArray[np.uint8]
    baseline_m: float


class RightImages(Protocol):
    """Finds right images."""

    def of(self, sample: Sample) -> RightImage | None:
        """Return the right image of a frame; None where it has none.

        Raises:
            DataError: it cannot be read, or does not fit.
        """
        ...


class FolderRightImages:
    """The right images of a folder, in ``image_right/`` under the names of the left ones.

    Args:
        path: the folder; its `camera.json` has ``baseline_m``.

    Raises:
        DataError: there are no right images, or no baseline; or the images are not rectified.
    """

    def __init__(self, path: Path) -> None:
        folder = path / RIGHT_FOLDER
        if not folder.is_dir():
            raise DataError(f"{path}: has no {RIGHT_FOLDER}/ with the right images of a stereo pair")
        self._files = {file.stem: file for file in list_images(folder)}
        camera = read_camera(path / CAMERA_FILE) if (path / CAMERA_FILE).is_file() else None
        if camera is None or camera.baseline_m is None or camera.intrinsics is None:
            raise DataError(
                f"{path / CAMERA_FILE}: must have K and 'baseline_m', the metres between the two cameras, for depth "
                "from stereo"
            )
        if camera.d:
            raise DataError(f"{path / CAMERA_FILE}: has distortion ('d'); depth from stereo needs a rectified pair")
        self._baseline_m = camera.baseline_m

    def of(self, sample: Sample) -> RightImage | None:
        """See `RightImages`."""
        file = self._files.get(Path(sample.source).stem)
        if file is None:
            return None
        image = read_picture(file)
        check_size(image.shape[:2], sample.frame.size, str(file), "the left image")
        return RightImage(image, self._baseline_m)


def open_right_images(path: Path) -> RightImages:
    """Open the right images of a recording.

    Args:
        path: of the recording.

    Raises:
        DataError: it is none of a stereo camera.
    """
    if not path.is_dir():
        raise DataError(f"{path}: depth from stereo needs a folder with {RIGHT_FOLDER}/")
    return FolderRightImages(path)
