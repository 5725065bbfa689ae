# SPDX-License-Identifier: Apache-2.0
"""Pairs of samples with what a model predicts for them here and now, with nothing written between."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from monodvps_ros import config as configuration
from monodvps_ros.config import PipelineConfig
from monodvps_ros.errors import DataError
from monodvps_ros.evaluation.pairs import FramePair, TruthReader
from monodvps_ros.outputs import Output, ScaleState
from monodvps_ros.perception import Pipeline
from monodvps_ros.types import PerceptionModel, Sample

_WANTED = frozenset({Output.PANOPTIC, Output.DEPTH})


class ModelPairs:
    """Runs the live pipeline over samples.

    Depth is predicted under what is called sky too, so that calling something sky hides no error, and where its scale
    is unknown, since it is scaled before it is measured.

    Args:
        model: on the configuration's device.
        config: of the pipeline.
        truth: reads the samples' truth.
        stills: frames do not follow each other: each is a sequence of its own.
        allow_pseudo_labels: measure agreement with a teacher's labels where there are no true ones.

    Attributes:
        against_pseudo_labels: whether a sample had such labels.
        not_finite: frames for which the network gave NaN or infinite numbers: void, or without depth, there.
    """

    def __init__(
        self,
        model: PerceptionModel,
        config: PipelineConfig,
        truth: TruthReader,
        stills: bool = False,
        allow_pseudo_labels: bool = False,
    ) -> None:
        up_to_scale = configuration.replace(config, "scale.unknown", "publish")
        self.pipeline = Pipeline(model, configuration.replace(up_to_scale, "sky_depth", True))
        self.against_pseudo_labels, self.not_finite = False, 0
        self._truth, self._stills, self._allow_pseudo_labels = truth, stills, allow_pseudo_labels
        self._times_ms: list[float] = []

    def pairs(self, samples: Iterable[Sample], camera_height_m: float | None = None) -> Iterator[FramePair]:
        """Predict each sample of a recording, and give those that have truth.

        Args:
            samples: in time order.
            camera_height_m: of the camera above the road; None leaves it as configured.

        Raises:
            DataError: a sample has pseudo-labels, and it was not said that they may be measured against.
        """
        if camera_height_m is not None:
            height = configuration.replace(self.pipeline.config, "scale.camera_height_m", camera_height_m)
            self.pipeline.configure(height)
        sequence = None
        for sample in samples:
            if sample.sequence != sequence or self._stills:
                self.pipeline.reset()
                sequence = sample.sequence
            pair = self._truth.read(sample)
            self.against_pseudo_labels |= pair.against_pseudo_labels
            if pair.against_pseudo_labels and not self._allow_pseudo_labels:
                raise DataError(f"{sample.source}: has a pseudo-label, not ground truth; give data with true labels")
            begin = time.perf_counter()
            seen = self.pipeline.step(sample.frame, _WANTED)
            self._times_ms.append(1e3 * (time.perf_counter() - begin))
            self.not_finite += bool(seen.problem)
            if not pair.has_truth:
                continue
            assert seen.depth_m is not None
            # metric weights know metres by K alone
            factor = 1.0 if seen.scale.state is ScaleState.METRIC else seen.scale.factor
            yield replace(
                pair,
                sequence=f"{pair.sequence} {pair.name}" if self._stills else pair.sequence,
                prediction=seen.panoptic,
                predicted_depth_m=seen.depth_m if factor == 1.0 else seen.depth_m / np.float32(factor),
                metres_per_unit=factor if seen.scale.is_known else None,
            )

    def times_ms(self) -> dict[str, Any]:
        """Return the time of a frame from image to maps, the first frame left out: ``p50`` and ``p90``.

        A node adds what messages and transport take.
        """
        times = self._times_ms[1:] or self._times_ms
        p50, p90 = np.percentile(times, [50, 90]).round(2).tolist() if times else (None, None)
        return {"p50": p50, "p90": p90}
