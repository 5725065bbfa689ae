# SPDX-License-Identifier: Apache-2.0
"""What a data format says of itself: how it is found, opened and measured, and how its predictions are stored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.errors import DataError, shortened
from monodvps_ros.labels import LabelSpace
from monodvps_ros.metrics import DatasetRules, PanopticMap
from monodvps_ros.types import Sample, SampleSource


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """Options of `open_source`; None: as the data say.

    Attributes:
        image_topic: of a recording with several cameras.
        camera_info_topic: of a recording where it is not ``camera_info`` beside the images.
        rate_hz: frames per second.
        labels: label space of the truth.
        rectified: auto, true or false: whether the images are rectified.
        label_file: that the caller reads label images by; concerns no format.
    """

    image_topic: str | None = None
    camera_info_topic: str | None = None
    rate_hz: float | None = None
    labels: LabelSpace | None = None
    rectified: str = "auto"
    label_file: Path | None = None

    def given(self) -> dict[str, object]:
        """Return the options that were given, by name."""
        values = {name: getattr(self, name) for name in self.__slots__ if name != "label_file"}
        return {name: value for name, value in values.items() if value not in (None, "auto")}


@dataclass(frozen=True, slots=True)
class PredictionLayout:
    """How panoptic maps and depth are stored in ``pan/`` and ``dep/``.

    Attributes:
        name: as on command lines.
        labels: classes of the data set.
        largest_instance: largest instance id that a file can hold.
        panoptic_endings: of the files of one frame in ``pan/``.
        depth_ending: of its file in ``dep/``.
        encode: (H, W) uint8 classes and (H, W) instance ids to the images of ``panoptic_endings``.
        decode: those files to (H, W) uint8 classes and (H, W) instance ids.
    """

    name: str
    labels: LabelSpace
    largest_instance: int
    panoptic_endings: tuple[str, ...]
    depth_ending: str
    encode: Callable[[NDArray[np.uint8], NDArray[np.integer]], Sequence[NDArray[np.integer]]]
    decode: Callable[[Sequence[Path]], tuple[NDArray[np.integer], NDArray[np.integer]]]


@dataclass(frozen=True, slots=True)
class Format:
    """A data format; each module of `monodvps_ros.data.formats` has one as ``FORMAT``.

    Attributes:
        title: what it is, with an article, for messages.
        detects: whether a path that exists is of this format. No two formats detect one path, but for the fallback.
        open: opens the path.
        options: names of `OpenOptions` that apply.
        fallback: asked after all others.
        rules: constants that it is measured with, under a name of its own; None: those of recordings.
        layout: of predictions; None: it has none of its own.
        read_panoptic: reads the true classes and instances of a sample where panoptic ids cannot hold them; None:
            the sample's own are measured.
    """

    title: str
    detects: Callable[[Path], bool]
    open: Callable[[Path, OpenOptions], SampleSource]
    options: frozenset[str] = field(default_factory=frozenset)
    fallback: bool = False
    rules: DatasetRules | None = None
    layout: PredictionLayout | None = None
    read_panoptic: Callable[[Sample], PanopticMap] | None = None

    def open_checked(self, path: Path, options: OpenOptions) -> SampleSource:
        """Open a path.

        Raises:
            DataError: an option does not apply to this format, or as its source says.
        """
        for name, value in options.given().items():
            if name not in self.options:
                raise DataError(f"{path}: is {self.title}: {name} ({shortened(str(value))}) does not apply to it")
        return self.open(path, options)
