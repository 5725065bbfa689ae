# SPDX-License-Identifier: Apache-2.0
"""Pictures of single frames for the report: input, truth, prediction and where the depth is off, as data URIs."""

import base64
from collections.abc import Mapping
from functools import cache
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from monodvps_ros.evaluation.pictures import NO_DEPTH_COLOR, color_depth, fit_width
from monodvps_ros.labels import LabelSpace
from monodvps_ros.metrics import PanopticMap
from monodvps_ros.metrics.segments import as_array, class_of, compact, instance_of
from monodvps_ros.perception.rendering import draw_panoptic, instance_colors

#: Width of a picture in the report.
PICTURE_WIDTH_PX = 480
FILM_WIDTH_PX = 256
JPEG_QUALITY = 82
#: Relative depth error that is drawn in the strongest colour, too near in blue and too far in red.
STRONGEST_ERROR = 0.5


def color_panoptic(panoptic: PanopticMap, space: LabelSpace) -> NDArray[np.uint8]:
    """Colour a panoptic map: (H, W) ids or a pair of maps to (H, W, 3) uint8."""
    segment_ids, rank = compact(panoptic, space, "panoptic")
    shape = as_array(panoptic[0] if isinstance(panoptic, tuple) else panoptic).shape
    colors = torch.from_numpy(instance_colors(class_of(segment_ids), instance_of(segment_ids), space))
    return draw_panoptic(torch.from_numpy(rank.reshape(shape)), colors).numpy()


@cache
def error_palette() -> NDArray[np.uint8]:
    """Return 256 colours from blue (too near) over white (right) to red (too far)."""
    place = np.linspace(-1, 1, 256)[:, None]
    near, right, far = np.array([33, 102, 172]), np.array([250, 250, 250]), np.array([178, 24, 43])
    end = np.where(place < 0, near, far)
    palette = (right + (end - right) * np.abs(place) ** 0.7).round().astype(np.uint8)
    palette.setflags(write=False)
    return palette


def color_depth_error(truth_m: NDArray[np.float32], prediction_m: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colour (p - g) / g: (H, W) metres each, to (H, W, 3) uint8; grey where either is missing."""
    known = (truth_m > 0) & np.isfinite(prediction_m)
    error = np.where(known, prediction_m - truth_m, 0.0) / np.where(known, truth_m, 1.0)
    place = np.clip(error / STRONGEST_ERROR, -1, 1) * 127.5 + 127.5
    picture = error_palette()[place.round().astype(np.uint8)]
    picture[~known] = NO_DEPTH_COLOR
    return picture


def data_uri(picture: NDArray[np.uint8], extension: str = "jpg") -> str:
    """Encode an (H, W, 3) uint8 picture, red green blue, as a data URI of a JPEG or PNG."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if extension == "jpg" else []
    _, data = cv2.imencode(f".{extension}", picture[..., ::-1], options)
    kind = "jpeg" if extension == "jpg" else extension
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode('ascii')}"


def frame_pictures(
    image: NDArray[np.uint8] | None,
    truth: PanopticMap | None,
    prediction: PanopticMap | None,
    truth_m: NDArray[np.float32] | None,
    prediction_m: NDArray[np.float32] | None,
    space: LabelSpace,
) -> list[dict[str, str]]:
    """Draw what is known of one frame, as a list of captions and data URIs."""
    truth_m = None if truth_m is None else _thickened(truth_m)
    drawn = {
        "input": image,
        "panoptic truth": None if truth is None else color_panoptic(truth, space),
        "panoptic prediction": None if prediction is None else color_panoptic(prediction, space),
        "true depth": None if truth_m is None else color_depth(truth_m),
        "predicted depth": None if prediction_m is None else color_depth(prediction_m),
    }
    if truth_m is not None and prediction_m is not None:
        drawn["depth error"] = color_depth_error(truth_m, prediction_m)
    return _captioned(drawn, PICTURE_WIDTH_PX)


def _captioned(drawn: Mapping[str, NDArray[np.uint8] | None], width_px: int) -> list[dict[str, str]]:
    """Bring the pictures that there are, by their captions, to a width."""
    found = ((caption, picture) for caption, picture in drawn.items() if picture is not None)
    return [{"caption": caption, "uri": data_uri(fit_width(picture, width_px))} for caption, picture in found]


def _thickened(depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
    # points of a lidar would vanish when a picture is made small
    known = np.isfinite(depth_m) & (depth_m > 0)
    if known.mean() > 0.3:
        return depth_m
    thick = cv2.dilate(np.where(known, depth_m, 0.0).astype(np.float32), np.ones((3, 3), np.uint8))
    return np.where(thick > 0, thick, np.nan).astype(np.float32)


class WorstFrames:
    """Keeps the few frames with the highest badness, and draws only those that get among them.

    Args:
        keep: number of frames.
    """

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self._entries: list[tuple[float, dict[str, Any]]] = []  # the worst first; of equals, the earlier

    def wants(self, badness: float) -> bool:
        """Say whether a frame of this badness gets among the worst."""
        return self.keep > 0 and (len(self._entries) < self.keep or badness > self._entries[-1][0])

    def add(self, badness: float, content: dict[str, Any]) -> None:
        """Add a frame, and drop the least bad one where there are too many."""
        self._entries = sorted([*self._entries, (badness, content)], key=lambda entry: -entry[0])[: self.keep]

    def contents(self) -> list[dict[str, Any]]:
        """Return the frames kept, the worst first."""
        return [content for _, content in self._entries]


class Filmstrip:
    """Keeps pictures of frames spread evenly over a run whose length is not known beforehand.

    Every n-th frame is kept; when there are twice as many as wanted, every other one goes and n doubles.

    Args:
        keep: least number of frames, of a run that has as many; fewer than twice as many are kept.
    """

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self._step = 1
        self._seen = 0
        self._contents: list[dict[str, Any]] = []

    def wants_next(self) -> bool:
        """Count a frame, and say whether it is one to keep; `add` it then."""
        self._seen += 1
        return self.keep > 0 and (self._seen - 1) % self._step == 0

    def add(self, content: dict[str, Any]) -> None:
        """Keep a frame."""
        self._contents.append(content)
        if len(self._contents) == 2 * self.keep:
            self._contents = self._contents[::2]
            self._step *= 2

    def contents(self) -> list[dict[str, Any]]:
        """Return the frames kept, in the order of the run."""
        return list(self._contents)


def film_pictures(
    image: NDArray[np.uint8] | None,
    prediction: PanopticMap | None,
    prediction_m: NDArray[np.float32] | None,
    space: LabelSpace,
) -> list[dict[str, str]]:
    """Draw a frame of the filmstrip: the prediction over the image, and the predicted depth."""
    colors = None if prediction is None else color_panoptic(prediction, space)
    if colors is not None and image is not None and image.shape == colors.shape:
        colors = cv2.addWeighted(image, 0.45, colors, 0.55, 0).astype(np.uint8)
    depth = None if prediction_m is None else color_depth(prediction_m)
    return _captioned({"panoptic prediction": colors, "predicted depth": depth}, FILM_WIDTH_PX)
