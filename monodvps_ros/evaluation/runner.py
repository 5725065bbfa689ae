# SPDX-License-Identifier: Apache-2.0
"""Run the metrics over pairs of truth and prediction, frame by frame, in memory that does not grow with the frames."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from monodvps_ros.evaluation.frame_pictures import Filmstrip, WorstFrames, film_pictures, frame_pictures
from monodvps_ros.evaluation.scaling import DepthScaler, Scaling
from monodvps_ros.geometry.resizing import resize_nearest_array
from monodvps_ros.labels import LABEL_DIVISOR, LabelSpace
from monodvps_ros.metrics import DatasetRules, DepthProtocol, Evaluator, FrameScores, PanopticMap, results
from monodvps_ros.metrics.segments import as_array

#: Names of frames without a partner that are listed; all are counted.
MOST_NAMES_LISTED = 200
#: The filmstrip has at least so many frames, and fewer than twice as many.
FILM_FRAMES = 8


@dataclass(frozen=True, eq=False, slots=True)
class FramePair:
    """One frame of the truth and what was predicted for it; what is not known is None.

    Attributes:
        sequence: name of its sequence; frames of one sequence follow each other.
        name: what it is called in reports: a file's name, or a stamp.
        image: (H, W, 3) uint8.
        intrinsics: (3, 3) float64 K of the image.
        truth: (H, W) panoptic ids, or a pair of class and instance ids.
        truth_depth_m: (H, W) float32 metres, NaN where there is none.
        prediction: like `truth`, of any size.
        predicted_depth_m: like `truth_depth_m`, of any size.
        paired: false where there is truth but nothing was predicted.
    """

    sequence: str
    name: str
    image: NDArray[np.uint8] | None = None
    intrinsics: NDArray[np.float64] | None = None
    truth: PanopticMap | None = None
    truth_depth_m: NDArray[np.float32] | None = None
    prediction: PanopticMap | None = None
    predicted_depth_m: NDArray[np.float32] | None = None
    paired: bool = True


class Names:
    """Counts names and lists the first of them."""

    def __init__(self) -> None:
        """Start with none."""
        self.count = 0
        self.names: list[str] = []

    def add(self, name: str) -> None:
        """Count a name."""
        self.count += 1
        if len(self.names) < MOST_NAMES_LISTED:
            self.names.append(name)

    def summary(self) -> dict[str, Any]:
        """Return count and names."""
        return {"count": self.count, "names": list(self.names)}


class Evaluation:
    """Everything `monodvps evaluate` measures, one `add` a frame.

    Args:
        rules: constants of the data set.
        space: classes of both sides.
        scaling: where the factor of the predicted depth comes from.
        protocol: pixels that count for depth errors.
        camera_height_m: for scaling by camera height.
        pictures: how many of the worst frames to draw, by PQ and by depth error each; 0 draws nothing at all.

    Raises:
        ConfigError: the camera's height is needed and missing.
    """

    def __init__(
        self,
        rules: DatasetRules,
        space: LabelSpace,
        scaling: Scaling = Scaling.NONE,
        protocol: DepthProtocol | None = None,
        camera_height_m: float | None = None,
        pictures: int = 0,
    ) -> None:
        self.rules, self.space = rules, space
        self.protocol = protocol or DepthProtocol()
        self.scaler = DepthScaler(scaling, self.protocol, camera_height_m)
        self.evaluator = Evaluator(
            space, rules.windows, rules.depth_thresholds, rules.depth_ratios, protocol=self.protocol
        )
        self.worst_panoptic, self.worst_depth = WorstFrames(pictures), WorstFrames(pictures)
        self.film = Filmstrip(FILM_FRAMES if pictures else 0)
        self.without_prediction = Names()
        self.frames = self.resized_frames = self.sequences = 0
        self._sequence: str | None = None

    def add_all(self, pairs: Iterable[FramePair]) -> None:
        """Measure pairs in time order."""
        for pair in pairs:
            self.add(pair)

    def add(self, pair: FramePair) -> None:
        """Measure one pair; a new name of sequence ends the one before.

        Raises:
            ShapeError: maps of one side differ in size, or ids are not whole numbers.
            LabelError: an id is of a class that the label space has not.
            ConfigError: scaling by camera height lacks K or a road class.
        """
        if pair.sequence != self._sequence:
            if self._sequence is not None:
                self.evaluator.end_sequence()
            self.scaler.start_sequence()
            self.sequences += 1
            self._sequence = pair.sequence
        if not pair.paired:
            self.without_prediction.add(pair.name)
            return
        self.frames += 1
        prediction, depth_m = self._fitted(pair)
        if depth_m is not None and pair.truth_depth_m is not None:
            depth_m = self.scaler.scale(depth_m, pair.truth_depth_m, self._road(prediction), pair.intrinsics)
        scores = self.evaluator.update(pair.truth, prediction, pair.truth_depth_m, depth_m, pair.sequence)
        if self.film.wants_next():
            film = film_pictures(pair.image, prediction, depth_m, self.space)
            self.film.add({"sequence": pair.sequence, "name": pair.name, "pictures": film})
        self._remember(pair, prediction, depth_m, scores)

    def results(self) -> dict[str, Any]:
        """Return everything measured as plain dictionaries, ready for JSON."""
        return {
            "dataset": self.rules.name,
            "frames": self.frames,
            "sequences": self.sequences,
            "scaling": self.scaler.scaling.value,
            **results(self.evaluator.compute()),
            "scale": self.scaler.summary(),
            "depth_protocol": {
                "min_m": self.protocol.min_depth_m,
                "cap_m": self.protocol.max_depth_m,
                "crop": self.protocol.crop,
            },
            "resized_frames": self.resized_frames,
            "worst_frames": [
                {name: value for name, value in frame.items() if name != "pictures"} for frame in self.worst_frames()
            ],
        }

    def worst_frames(self) -> list[dict[str, Any]]:
        """Return the worst frames by PQ and then those by depth error, each once, with their pictures."""
        frames: dict[tuple[str, str], dict[str, Any]] = {}
        for content in (*self.worst_panoptic.contents(), *self.worst_depth.contents()):
            frames.setdefault((content["sequence"], content["name"]), content)
        return list(frames.values())

    def _fitted(self, pair: FramePair) -> tuple[PanopticMap | None, NDArray[np.float32] | None]:
        # predictions at the size of the truth: nearest for ids, bilinear in inverse depth as monodepth2 does
        size = _size(pair.truth) or _size(pair.truth_depth_m)
        prediction, depth_m = pair.prediction, pair.predicted_depth_m
        if size is None:
            return prediction, depth_m
        differs = [part for part in (prediction, depth_m) if part is not None and _size(part) != size]
        self.resized_frames += bool(differs)
        if prediction is not None and _size(prediction) != size:
            parts = prediction if isinstance(prediction, tuple) else (prediction,)
            fitted = tuple(resize_nearest_array(as_array(part), size) for part in parts)
            prediction = (fitted[0], fitted[1]) if isinstance(pair.prediction, tuple) else fitted[0]
        if depth_m is not None and depth_m.shape != size:
            with np.errstate(divide="ignore"):
                inverse = np.where(depth_m > 0, 1.0 / depth_m, np.nan).astype(np.float32)
            depth_m = 1.0 / np.asarray(cv2.resize(inverse, (size[1], size[0])), np.float32)
        return prediction, depth_m

    def _road(self, prediction: PanopticMap | None) -> NDArray[np.bool_] | None:
        if self.scaler.scaling is not Scaling.CAMERA_HEIGHT or prediction is None or "road" not in self.space.names:
            return None
        road = self.space.class_id("road")
        if isinstance(prediction, tuple):
            return as_array(prediction[0]) == road
        return as_array(prediction) // LABEL_DIVISOR == road

    def _remember(
        self,
        pair: FramePair,
        prediction: PanopticMap | None,
        depth_m: NDArray[np.float32] | None,
        scores: FrameScores,
    ) -> None:
        wanted = []
        if scores.pq is not None and self.worst_panoptic.wants(-scores.pq):
            wanted.append((self.worst_panoptic, -scores.pq))
        if scores.abs_rel is not None and self.worst_depth.wants(scores.abs_rel):
            wanted.append((self.worst_depth, scores.abs_rel))
        if not wanted:
            return
        content = {
            "sequence": pair.sequence,
            "name": pair.name,
            "pq": None if scores.pq is None else 100.0 * scores.pq,
            "abs_rel": scores.abs_rel,
            "id_switches": scores.id_switches,
            "pictures": frame_pictures(pair.image, pair.truth, prediction, pair.truth_depth_m, depth_m, self.space),
        }
        for frames, badness in wanted:
            frames.add(badness, content)


def _size(part: Any) -> tuple[int, int] | None:
    if part is None:
        return None
    height, width = as_array(part[0] if isinstance(part, tuple) else part).shape
    return height, width
