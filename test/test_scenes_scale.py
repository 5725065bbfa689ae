# SPDX-License-Identifier: Apache-2.0
"""Metres from the camera's height on synthetic drives: the true depth by an unknown factor in each frame, recovered."""

import numpy as np
import pytest
import torch

from monodvps_ros.config import PipelineConfig, SceneConfig, load
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.perception import Pipeline
from monodvps_ros.scenes import Drive
from monodvps_ros.types import NetworkOutput

SIZE = (96, 320)
ROAD = CITYSCAPES.class_id("road")
SKY_DEPTH_M = 1000.0


class TrueDepthOverFactor:
    """A network that sees classes and depth as they are, in a unit of its own that changes with every frame."""

    label_space = CITYSCAPES
    input_size = SIZE
    depth_range_m = (0.1, 2000.0)
    is_metric = False
    canonical_focal_px = 0.0
    description = "true depth by an unknown factor"

    def show(self, truth, factor):
        self.truth, self.factor = truth, factor

    def infer(self, image, memory=()):
        classes = torch.from_numpy(self.truth.panoptic.astype(np.int64) // 1000)
        logits = 16.0 * torch.nn.functional.one_hot(classes.clamp(max=18), 19).permute(2, 0, 1)[None].float()
        depth_m = torch.from_numpy(np.nan_to_num(self.truth.depth_m, nan=SKY_DEPTH_M))
        return NetworkOutput(
            logits, instances=torch.zeros(1, *SIZE, dtype=torch.long), depth_m=depth_m[None, None] / self.factor
        )


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "height_m", "pitch_deg"), [(3, 1.5, 0.0), (4, 1.8, 4.0)])
def test_an_unknown_factor_in_each_frame_is_recovered(seed, height_m, pitch_deg):
    scene = SceneConfig(
        frames=20, height=SIZE[0], width=SIZE[1], camera_height_m=height_m, camera_pitch_deg=pitch_deg, antialias=False
    )
    overrides = {"device": "cpu", "scale.camera_height_m": height_m, "tracker.flow": "none"}
    model = TrueDepthOverFactor()
    pipeline = Pipeline(model, load(PipelineConfig, None, overrides))
    random = np.random.default_rng(seed)
    errors = []
    for sample in Drive(scene, seed):
        factor = float(np.exp(random.uniform(-1.5, 1.5)))
        model.show(sample.truth, factor)
        seen = pipeline.step(sample.frame)
        if (sample.truth.panoptic // 1000 == ROAD).sum() >= pipeline.config.scale.min_road_points:
            errors.append(abs(seen.scale.factor / factor - 1))
    assert len(errors) >= 16  # a drive is mostly on roads
    assert np.mean(np.array(errors) < 0.02) >= 0.95, np.sort(errors)[-5:]
