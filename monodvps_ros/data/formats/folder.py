# SPDX-License-Identifier: Apache-2.0
"""A folder of images as a source of samples.

``camera.json`` (see `camera_file`) and the images, in the folder itself or in ``image/``, in natural order of their
names. Beside them, with the images' names and as PNG, what truth there is:

- ``depth_lidar/`` or ``depth/``: uint16, metres times 256, 0 where there is none;
- ``panoptic/``: uint16, panoptic ids, 65535 is void;
- ``panoptic_pseudo/``: likewise, a teacher's guesses: pseudo-labels of the images that have no true label;
- ``label/``: uint8 class labels of any data set, with a ``labels.yaml`` beside the folder that says what their values
  mean (see `label_file`); a label of several classes is void here;
- ``poses.txt``: one line an image, the 3 x 4 matrix that carries points of the camera into a fixed frame, row by row.

An image may lack truth; truth without an image is an error. Right images of a rectified stereo pair are in
``image_right/``, under the same names; the depth teacher ``stereo`` looks at them.
"""

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.camera_file import CAMERA_FILE, read_camera
from monodvps_ros.data.camera_samples import CameraSamples
from monodvps_ros.data.checks import check_panoptic, check_size
from monodvps_ros.data.format import Format
from monodvps_ros.data.image_files import list_images, read_depth, read_map, read_picture
from monodvps_ros.data.label_file import LABEL_FILE, find_label_file
from monodvps_ros.data.listing import missing_numbers
from monodvps_ros.data.reading import Reading
from monodvps_ros.errors import DataError, counted
from monodvps_ros.files import read_bytes
from monodvps_ros.labels import CITYSCAPES, LabelSpace
from monodvps_ros.types import FrameTruth, Sample

log = logging.getLogger(__name__)

#: Stamp of the first image of what has no clock; not 0, which ROS takes for "no time".
START_NS = 1_000_000_000
DEFAULT_RATE_HZ = 10.0

_DEPTH_FOLDERS = ("depth_lidar", "depth")
_POSE_NUMBERS = 12


class FolderSource:
    """The images of a folder.

    Args:
        path: the folder.
        rate_hz: images per second; None takes that of `camera.json`, or 10 Hz where there is none.
        labels: label space of the panoptic truth.
        rectified: auto, true or false: whether the images are rectified; auto: where camera.json has no distortion.
        label_file: that the caller reads ``label/`` by, where the folder has none; nothing is said of it then.

    Attributes:
        camera_height_m: of the camera above the road; None where it is not known.

    Raises:
        DataError: there are no images, `camera.json` or `poses.txt` is wrong, or truth has no image.
    """

    def __init__(
        self,
        path: Path,
        rate_hz: float | None = None,
        labels: LabelSpace = CITYSCAPES,
        rectified: str = "auto",
        label_file: Path | None = None,
    ) -> None:
        self.path = path
        self._frames = CameraSamples(str(path / CAMERA_FILE), rectified)
        self._labels = labels
        folder = path / "image" if (path / "image").is_dir() else path
        if not folder.is_dir():
            raise DataError(f"{path}: is not a folder")
        self._images = list_images(folder)
        if not self._images:
            raise DataError(f"{folder}: contains no images")
        self._camera = read_camera(path / CAMERA_FILE) if (path / CAMERA_FILE).is_file() else None
        if self._camera is None:
            log.warning("%s: has no %s: K is not known, and the rate is taken as %g Hz", path, CAMERA_FILE,
                        rate_hz or DEFAULT_RATE_HZ)  # fmt: skip
        missing = 0 if self._camera is not None and self._camera.stills else missing_numbers(self._images)
        if missing:
            images = counted(missing, "image is", "images are")
            log.warning("%s: by their numbers %s missing; neighbours are taken to follow each other", folder, images)
        self._rate_hz = rate_hz or (self._camera.rate_hz if self._camera else DEFAULT_RATE_HZ)
        self.camera_height_m = self._camera.camera_height_m if self._camera else None
        self._depth = next((self._partners(name) for name in _DEPTH_FOLDERS if (path / name).is_dir()), {})
        self._panoptic, self._pseudo = self._partners("panoptic"), self._partners("panoptic_pseudo")
        self._label_file = find_label_file(path, labels)
        has_labels = self._label_file is not None and self._label_file.groups is not None
        self._label = self._partners(self._label_file.folder) if self._label_file is not None and has_labels else {}
        if self._label_file is None and label_file is None and (path / "label").is_dir():
            log.warning("%s: has no %s: label/ is read by 'evaluate --labels FILE' only", path, LABEL_FILE)
        self._poses = _read_poses(path / "poses.txt", len(self._images))

    @property
    def rate_hz(self) -> float:
        """Images per second."""
        return self._rate_hz

    @property
    def label_space(self) -> LabelSpace:
        """Label space of the panoptic truth."""
        return self._labels

    def __len__(self) -> int:
        """Number of images."""
        return len(self._images)

    def __iter__(self) -> Iterator[Sample]:
        """Read from the first image; goes on after one that raised.

        Raises:
            DataError: a file cannot be read, or sizes or label values are wrong.
        """
        return Reading(partial(self._sample, index, path) for index, path in enumerate(self._images))

    def _sample(self, index: int, path: Path) -> Sample:
        image = read_picture(path)
        name, stills = self.path.resolve().name, self._camera is not None and self._camera.stills
        size = (image.shape[0], image.shape[1])
        if self._camera is not None:
            check_size(size, self._camera.size, str(path), f"the camera of {self.path / CAMERA_FILE}")
        frame, truth = self._frames.join(
            image,
            START_NS + round(index * 1e9 / self._rate_hz),
            None if self._camera is None else self._camera.calibration,
            self._truth(index, path.stem, size),
        )
        if stills:
            return Sample(frame, truth, f"{name}_{path.stem}", 0, str(path))
        return Sample(frame, truth, name, index, str(path))

    def _truth(self, index: int, stem: str, size: tuple[int, int]) -> FrameTruth:
        depth_m = panoptic = None
        if stem in self._depth:
            depth_m = read_depth(self._depth[stem])
            check_size(depth_m.shape, size, str(self._depth[stem]))
        is_pseudo = stem in self._pseudo and stem not in self._panoptic and stem not in self._label
        file = self._pseudo[stem] if is_pseudo else self._panoptic.get(stem)
        if file is not None:
            panoptic = np.asarray(read_map(file, [np.uint16]), np.uint16)
            check_size(panoptic.shape, size, str(file))
            check_panoptic(panoptic, self._labels, str(file))
        elif stem in self._label and self._label_file is not None:
            groups = self._label_file.read_groups(self.path, stem, size)
            panoptic = None if groups is None else self._label_file.panoptic_table()[groups]
        pose = None if self._poses is None else self._poses[index]
        return FrameTruth(panoptic, depth_m, world_from_camera=pose, panoptic_is_pseudo=is_pseudo)

    def _partners(self, name: str) -> dict[str, Path]:
        """List the files of a folder of truth by the names of their images."""
        folder = self.path / name
        if not folder.is_dir():
            return {}
        found = {path.stem: path for path in list_images(folder)}
        unmatched = found.keys() - {path.stem for path in self._images}
        if unmatched:
            files = counted(len(unmatched), "such file")
            raise DataError(f"{found[min(unmatched)]}: has no image of its name ({files})")
        return found


def _read_poses(path: Path, count: int) -> NDArray[np.float64] | None:
    if not path.is_file():
        return None
    try:
        rows = np.loadtxt(read_bytes(path).decode().splitlines(), np.float64, ndmin=2)
    except ValueError as error:
        raise DataError(f"{path}: cannot be read as numbers: {error}") from None
    if rows.shape != (count, _POSE_NUMBERS) or not np.isfinite(rows).all():
        there = f"{counted(rows.shape[0], 'line')} of {counted(rows.shape[1], 'number')}"
        raise DataError(
            f"{path}: contains {there}; expected {count}, one for each image, of {_POSE_NUMBERS} finite numbers"
        )
    poses = np.zeros((count, 4, 4))
    poses[:, :3] = rows.reshape(count, 3, 4)
    poses[:, 3, 3] = 1.0
    return poses


FORMAT = Format(
    "a folder of images",
    Path.is_dir,
    lambda path, options: FolderSource(
        path, options.rate_hz, options.labels or CITYSCAPES, options.rectified, options.label_file
    ),
    frozenset({"rate_hz", "labels", "rectified"}),
    fallback=True,
)
