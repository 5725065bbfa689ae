# SPDX-License-Identifier: Apache-2.0
"""Run the metrics over pairs of truth and prediction, frame by frame, in memory that does not grow with the frames."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from monodvps_ros.evaluation.depth_scaling import DepthScaler, DepthScaling
from monodvps_ros.evaluation.frame_pictures import Filmstrip, WorstFrames, film_pictures, frame_pictures
from monodvps_ros.evaluation.pairs import FramePair, Names
from monodvps_ros.geometry.resizing import resize_nearest_array
from monodvps_ros.labels import ClassGroups, LabelSpace, single_classes
from monodvps_ros.metrics import (
    DatasetRules,
    DepthProtocol,
    Evaluator,
    MetricSettings,
    PanopticMap,
)
from monodvps_ros.metrics.evaluator import class_map
from monodvps_ros.metrics.segments import as_array

#: The filmstrip has at least so many frames, and fewer than twice as many.
FILM_FRAMES = 8


class Evaluation:
    """Everything that is measured of pairs of truth and prediction, one `add` a frame.

    Args:
        rules: constants of the data set.
        space: classes of both sides.
        scalings: where the factor of the predicted depth comes from; depth is measured once for each. Pictures and
            the worst frames are those of the last.
        groups: classes that the true labels tell apart; None: all.
        protocol: pixels that count for depth errors.
        camera_height_m: for scaling by camera height.
        pictures: how many of the worst frames to draw, by segmentation and by depth error each; 0 draws nothing at all.

    Raises:
        ConfigError: the camera's height is needed and missing.
    """

    def __init__(
        self,
        rules: DatasetRules,
        space: LabelSpace,
        scalings: Sequence[DepthScaling] = (DepthScaling.NONE,),
        groups: ClassGroups | None = None,
        protocol: DepthProtocol | None = None,
        camera_height_m: float | None = None,
        pictures: int = 0,
    ) -> None:
        self.rules, self.space = rules, space
        self.protocol = protocol or DepthProtocol()
        self.scalers = {scaling: DepthScaler(scaling, self.protocol, camera_height_m) for scaling in scalings}
        self.shown = scalings[-1]
        settings = MetricSettings(space, groups or single_classes(space), rules, self.protocol)
        self.evaluator = Evaluator(settings, [scaling.value for scaling in scalings])
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
            for scaler in self.scalers.values():
                scaler.start_sequence()
            self.sequences += 1
            self._sequence = pair.sequence
        if not pair.paired:
            self.without_prediction.add(pair.name)
            return
        self.frames += 1
        prediction, depth_m = self._fitted(pair)
        depths_m = self._scaled(pair, prediction, depth_m)
        scores = self.evaluator.update(
            pair.truth, prediction, pair.truth_depth_m, depths_m, true_groups=pair.true_groups, moving=pair.moving,
            sequence=pair.sequence,
        )  # fmt: skip
        depth_m = depths_m.get(self.shown.value, depth_m)
        if self.film.wants_next():
            film = film_pictures(pair.image, prediction, depth_m, self.space)
            self.film.add({"sequence": pair.sequence, "name": pair.name, "pictures": film})
        self._remember(pair, prediction, depth_m, scores)

    def result(self) -> dict[str, Any]:
        """Return everything measured as plain dictionaries, ready for JSON; docs/evaluation.md describes it."""
        result = self.evaluator.result()
        for scaling, scaler in self.scalers.items():
            result["by_depth_scaling"][scaling.value]["factor"] = scaler.summary()
        return {
            "dataset": self.rules.name,
            "frames": self.frames,
            "sequences": self.sequences,
            "depth_protocol": {
                "min_m": self.protocol.min_depth_m,
                "cap_m": self.protocol.max_depth_m,
                "crop": self.protocol.crop,
            },
            **result,
            "resized_frames": self.resized_frames,
            "worst_frames": [
                {name: value for name, value in frame.items() if name != "pictures"} for frame in self.worst_frames()
            ],
        }

    def state(self) -> dict[str, Any]:
        """End the open sequence and return what was measured, of JSON's types, for `add_state`; no pictures."""
        self.evaluator.end_sequence()
        self._sequence = None
        return {
            "frames": self.frames,
            "sequences": self.sequences,
            "resized_frames": self.resized_frames,
            "without_prediction": self.without_prediction.summary(),
            "scalers": {scaling.value: scaler.state() for scaling, scaler in self.scalers.items()},
            "metrics": self.evaluator.state(),
        }

    def add_state(self, state: Mapping[str, Any]) -> None:
        """Add what another evaluation with the same arguments has measured of other sequences.

        Raises:
            DataError: it was measured with other settings.
        """
        self.frames += state["frames"]
        self.sequences += state["sequences"]
        self.resized_frames += state["resized_frames"]
        self.without_prediction.add_summary(state["without_prediction"])
        for scaling, scaler in self.scalers.items():
            scaler.add_state(state["scalers"][scaling.value])
        self.evaluator.add_state(state["metrics"])

    def worst_frames(self) -> list[dict[str, Any]]:
        """Return the worst frames by PQ and then those by depth error, each once, with their pictures."""
        frames: dict[tuple[str, str], dict[str, Any]] = {}
        for content in (*self.worst_panoptic.contents(), *self.worst_depth.contents()):
            frames.setdefault((content["sequence"], content["name"]), content)
        return list(frames.values())

    def _fitted(self, pair: FramePair) -> tuple[PanopticMap | None, NDArray[np.float32] | None]:
        # predictions at the size of the truth: nearest for ids, bilinear in inverse depth as monodepth2 does
        sizes = (_size(part) for part in (pair.truth, pair.true_groups, pair.truth_depth_m) if part is not None)
        size, prediction, depth_m = next(sizes, None), pair.prediction, pair.predicted_depth_m
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

    def _scaled(
        self, pair: FramePair, prediction: PanopticMap | None, depth_m: NDArray[np.float32] | None
    ) -> dict[str, NDArray[np.float32]]:
        if depth_m is None or pair.truth_depth_m is None:
            return {}
        road = None
        if DepthScaling.CAMERA_HEIGHT in self.scalers and prediction is not None and "road" in self.space.names:
            road = class_map(prediction) == self.space.class_id("road")
        return {
            scaling.value: scaler.scale(depth_m, pair.truth_depth_m, road, pair.intrinsics, pair.metres_per_unit)
            for scaling, scaler in self.scalers.items()
        }

    def _remember(
        self,
        pair: FramePair,
        prediction: PanopticMap | None,
        depth_m: NDArray[np.float32] | None,
        scores: dict[str, float],
    ) -> None:
        quality, abs_rel = scores.get("pq", scores.get("classes")), scores.get("depth")
        wanted = []
        if quality is not None and self.worst_panoptic.wants(-quality):
            wanted.append((self.worst_panoptic, -quality))
        if abs_rel is not None and self.worst_depth.wants(abs_rel):
            wanted.append((self.worst_depth, abs_rel))
        if not wanted:
            return
        content = {
            "sequence": pair.sequence,
            "name": pair.name,
            **{
                key: None if scores.get(name) is None else 100.0 * scores[name]
                for key, name in (("pq", "pq"), ("miou", "classes"))
            },
            "abs_rel": abs_rel,
            "id_switches": int(scores.get("id_switches", 0)),
            "pictures": frame_pictures(pair.image, pair.truth, prediction, pair.truth_depth_m, depth_m, self.space),
        }
        for frames, badness in wanted:
            frames.add(badness, content)


def _size(part: Any) -> tuple[int, int]:
    height, width = as_array(part[0] if isinstance(part, tuple) else part).shape
    return height, width
