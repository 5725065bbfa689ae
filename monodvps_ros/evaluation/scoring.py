# SPDX-License-Identifier: Apache-2.0
"""Predicts drives whose truth is known and measures what comes of it, frame by frame, with nothing written between."""

import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.config import PipelineConfig, replace
from monodvps_ros.evaluation.headline import LIVE, MEDIAN, headline
from monodvps_ros.evaluation.runner import Evaluation, FramePair
from monodvps_ros.evaluation.scaling import Scaling
from monodvps_ros.labels import LABEL_DIVISOR, VOID_PANOPTIC_ID
from monodvps_ros.metrics import dataset_rules
from monodvps_ros.perception import Pipeline
from monodvps_ros.types import Output, PerceptionModel, Sample, ScaleState

_WANTED = frozenset({Output.PANOPTIC, Output.DEPTH})
_METRIC = (ScaleState.FIXED, ScaleState.MEASURED, ScaleState.HELD)


class Scoring:
    """Everything that is measured of a model on drives, with two ways to metres at once.

    The one, 'median', gives each frame's depth the median of its truth. The other, 'live', is what the node would
    publish: `scale.mode` of the configuration, by the camera's height as a rule. Depth is measured under what is
    called sky too, so that calling something sky hides no error.

    Args:
        model: on the configuration's device.
        config: of the pipeline; the camera's height is that of each drive.
        pictures: how many of the worst frames to draw, by PQ and by depth error each.
        min_area_px: true things of which fewer pixels are to be seen count as void, in that frame.
    """

    def __init__(self, model: PerceptionModel, config: PipelineConfig, pictures: int = 0, min_area_px: int = 0) -> None:
        config = replace(config, "sky_depth", True)
        rules, space = dataset_rules("bag"), model.label_space
        self.pipeline = Pipeline(model, config)
        self.evaluations = {
            MEDIAN: Evaluation(rules, space, Scaling.MEDIAN),
            LIVE: Evaluation(rules, space, Scaling.NONE, pictures=pictures),
        }
        self.min_area_px = min_area_px
        self.without_metres = 0
        self._times_ms: list[float] = []

    def drive(self, samples: Iterable[Sample], camera_height_m: float) -> Iterator[Sample]:
        """Predict and measure one drive; give each frame when it is done.

        Args:
            samples: with panoptic truth and depth, in time order.
            camera_height_m: of the camera above the road.

        Raises:
            LabelError: the truth has a class that the model has not.
        """
        self.pipeline.configure(replace(self.pipeline.config, "scale.camera_height_m", camera_height_m))
        self.pipeline.reset()
        for sample in samples:
            begin = time.perf_counter()
            seen = self.pipeline.step(sample.frame, _WANTED)
            self._times_ms.append(1e3 * (time.perf_counter() - begin))
            assert seen.panoptic is not None and seen.depth_m is not None
            truth = sample.truth.panoptic
            if truth is not None and self.min_area_px:
                truth = without_small_things(truth, self.min_area_px)
            is_metric = seen.scale.state in _METRIC
            self.without_metres += not is_metric
            for name, evaluation in self.evaluations.items():
                hidden = name == LIVE and not is_metric
                evaluation.add(
                    FramePair(
                        sequence=sample.sequence,
                        name=f"{sample.sequence} {sample.index}",
                        image=sample.frame.rectified().image,
                        intrinsics=sample.frame.intrinsics,
                        truth=truth,
                        truth_depth_m=sample.truth.depth_m,
                        prediction=seen.panoptic,
                        predicted_depth_m=np.full_like(seen.depth_m, np.nan) if hidden else seen.depth_m,
                    )
                )
            yield sample

    def results(self) -> dict[str, Any]:
        """Return everything measured, ready for JSON: headlines, then all numbers, by the way to metres.

        ``pipeline_ms`` is the time of a frame from image to maps, the first frame left out: a node adds what messages
        and transport take.
        """
        measured = {name: evaluation.results() for name, evaluation in self.evaluations.items()}
        times = self._times_ms[1:] or self._times_ms
        p50, p90 = np.percentile(times, [50, 90]) if times else (None, None)
        return {
            "frames": measured[LIVE]["frames"],
            "drives": measured[LIVE]["sequences"],
            "min_area_px": self.min_area_px,
            "frames_without_metres": self.without_metres,
            "pipeline_ms": {
                "p50": None if p50 is None else round(float(p50), 2),
                "p90": None if p90 is None else round(float(p90), 2),
            },
            "headline": {name: headline(found) for name, found in measured.items()},
            **measured,
        }


def without_small_things(panoptic: NDArray[np.uint16], min_area_px: int) -> NDArray[np.uint16]:
    """Return a copy of an (H, W) map of panoptic ids in which things of fewer pixels are void."""
    ids, place, area = np.unique(panoptic, return_inverse=True, return_counts=True)
    small = (area < min_area_px) & (ids % LABEL_DIVISOR > 0)
    return np.where(small, np.uint16(VOID_PANOPTIC_ID), ids)[place].reshape(panoptic.shape)
