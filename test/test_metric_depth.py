# SPDX-License-Identifier: Apache-2.0
"""Depth in metres for any camera: what training asks for and what the pipeline makes of it belong together."""

import dataclasses

import numpy as np
import pytest
import torch

from monodvps_ros.config import LossConfig, NetworkConfig, PipelineConfig, ScaleConfig, SceneConfig
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.losses import Objective, TrainingBatch, TrainingPrediction
from monodvps_ros.network import MonoDVPS
from monodvps_ros.outputs import Output, ScaleState
from monodvps_ros.perception import Pipeline
from monodvps_ros.perception import pipeline as pipeline_module
from monodvps_ros.perception.metric_scale import COMPARED
from monodvps_ros.scenes import Drive
from monodvps_ros.types import CameraFrame, NetworkOutput

SIZE = (96, 320)
CANONICAL_PX = 200.0
RANGE_M = (0.3, 200.0)
DEPTH_ALONE = LossConfig(depth=1.0, photometric=0.0, smoothness=0.0, panoptic_smoothness=0.0, panoptic_edges=0.0,
                         triplet=0.0, supervised_depth=1.0, semantic=0.0, instance=0.0, flow=0.0)  # fmt: skip
WANTED = frozenset({Output.DEPTH})


def camera(focal_px, size=SIZE):
    return np.array([[focal_px, 0, (size[1] - 1) / 2], [0, focal_px, (size[0] - 1) / 2], [0, 0, 1]])


def disparity_of(canonical_m):
    near, far = RANGE_M
    return (1 / canonical_m - 1 / far) / (1 / near - 1 / far)


def loss(canonical_m, true_m, focal_px):
    """The training loss of a network that says `canonical_m` where a camera sees `true_m`, everywhere."""
    output = NetworkOutput(torch.zeros(1, 19, 2, 2), instances=torch.zeros(1, 1, 1, dtype=torch.int64),
                           disparities=(torch.full((1, 1, 4, 4), disparity_of(canonical_m)),))  # fmt: skip
    batch = TrainingBatch(torch.zeros(1, 3, 4, 4), torch.from_numpy(camera(focal_px)).float()[None],
                          depth_m=torch.full((1, 1, 4, 4), true_m))  # fmt: skip
    objective = Objective(DEPTH_ALONE, CITYSCAPES, RANGE_M, canonical_focal_px=CANONICAL_PX)
    return objective(batch, TrainingPrediction(output))["supervised_depth"].item()


class Wall:
    """A metric network that says one canonical depth everywhere."""

    label_space, input_size, depth_range_m = CITYSCAPES, SIZE, RANGE_M
    is_metric, canonical_focal_px, description = True, CANONICAL_PX, "a wall"

    def __init__(self, canonical_m):
        self.canonical_m = canonical_m

    def infer(self, image, memory=()):
        disparity = torch.full((1, 1, *SIZE), disparity_of(self.canonical_m))
        logits = torch.zeros(1, 19, *SIZE)
        logits[:, 2] = 1.0  # buildings: no road whose height could be measured
        return NetworkOutput(logits, instances=torch.zeros(1, *SIZE, dtype=torch.long), disparities=(disparity,))


def step(model, intrinsics, size=SIZE, **scale):
    config = PipelineConfig(device="cpu", scale=ScaleConfig(**scale))
    return Pipeline(model, config).step(CameraFrame(np.zeros((*size, 3), np.uint8), 1, intrinsics=intrinsics), WANTED)


@pytest.mark.parametrize(("true_m", "focal_px"), [(10.0, 200.0), (20.0, 400.0), (5.0, 100.0)])
def test_walls_that_look_the_same_have_one_canonical_depth(true_m, focal_px):
    # A wall twice as far, through a lens twice as long, gives the same image; no network can tell the two apart.
    assert loss(10.0, true_m, focal_px) == pytest.approx(0.0, abs=1e-9)
    # By Eigen et al.: half of the squared logarithm of a common factor.
    assert loss(11.0, true_m, focal_px) == pytest.approx(0.5 * np.log(1.1) ** 2, rel=1e-3)


@pytest.mark.parametrize(("focal_px", "true_m"), [(200.0, 10.0), (400.0, 20.0), (100.0, 5.0)])
@pytest.mark.parametrize("shrink", [1, 2])
def test_the_pipeline_brings_depth_to_the_cameras_focal_length(focal_px, true_m, shrink):
    size = (shrink * SIZE[0], shrink * SIZE[1])  # K is of the camera's image; what counts is K of what the network sees
    seen = step(Wall(10.0), camera(shrink * focal_px, size), size)
    assert np.allclose(seen.depth_m, true_m, rtol=1e-4)
    assert seen.scale.state is ScaleState.METRIC
    assert seen.scale.factor == pytest.approx(true_m / 10.0)


@pytest.mark.parametrize("width", [SIZE[1] // 2, SIZE[1], 2 * SIZE[1]])
def test_columns_that_a_camera_sees_less_or_more_of_do_not_change_metres(width):
    """The same lens and rows; where the columns are resized to the network's, only fx changes."""
    size = (SIZE[0], width)
    assert np.allclose(step(Wall(10.0), camera(200.0, size), size).depth_m, 10.0, rtol=1e-4)


def test_without_k_the_scale_is_not_known():
    seen = step(Wall(10.0), None)
    assert seen.scale.state is ScaleState.UNKNOWN and "camera_info" in seen.scale.problem
    assert np.isnan(seen.depth_m).all()
    asked = step(Wall(10.0), None, unknown="publish")
    assert asked.scale.state is ScaleState.UNKNOWN
    assert np.allclose(asked.depth_m, 10.0, rtol=1e-4)


def test_a_fixed_factor_and_depth_as_it_is_can_be_asked_for():
    fixed = step(Wall(10.0), camera(400.0), mode="fixed", fixed_factor=3.0)
    assert (fixed.scale.state, float(fixed.depth_m[0, 0])) == (ScaleState.FIXED, pytest.approx(30.0, rel=1e-4))
    as_it_is = step(Wall(10.0), camera(400.0), mode="none", unknown="publish")
    assert as_it_is.scale.state is ScaleState.UNKNOWN
    assert float(as_it_is.depth_m[0, 0]) == pytest.approx(10.0, rel=1e-4)


class Road(Wall):
    """The same network above a road, with the camera `height_m` canonical metres above it."""

    def __init__(self, height_m):
        super().__init__(1.0)
        self.height_m = height_m

    def infer(self, image, memory=()):
        below = (torch.arange(SIZE[0]) - (SIZE[0] - 1) / 2).clamp(min=0.5) / 200.0
        disparity = disparity_of(self.height_m / below)[None, None, :, None].expand(1, 1, *SIZE)
        logits = torch.zeros(1, 19, *SIZE)
        logits[:, 2, : SIZE[0] // 2 + 4], logits[:, 0, SIZE[0] // 2 + 4 :] = 1.0, 1.0
        return dataclasses.replace(super().infer(image, memory), class_logits=logits, disparities=(disparity,))


def test_the_road_rescales_only_where_it_is_asked_for():
    seen = step(Road(1.5), camera(200.0), camera_height_m=1.65)
    assert (seen.scale.state, seen.scale.factor) == (ScaleState.METRIC, 1.0)
    assert seen.scale.road_ratio == pytest.approx(1.1, rel=0.01)  # 1.65 m where the weights say 1.5 m
    asked = step(Road(1.5), camera(200.0), camera_height_m=1.65, mode="camera_height")
    assert (asked.scale.state, asked.scale.factor) == (ScaleState.ROAD, pytest.approx(1.1, rel=0.01))
    assert asked.scale.road_ratio is None


@pytest.mark.parametrize("focal_px", [200.0, 400.0])
@pytest.mark.parametrize(("height_m", "ratio", "doubt"), [(1.0, 1.5, "is 1.00 m above the road"), (1.4, 1.5 / 1.4, "")])
def test_metric_weights_that_disagree_with_the_cameras_height_are_doubted_after_a_while(
    height_m, ratio, doubt, focal_px
):
    # A lens twice as long makes depth twice as large and rows half as steep: the height is the same.
    pipeline = Pipeline(Road(height_m), PipelineConfig(device="cpu", scale=ScaleConfig(camera_height_m=1.5)))
    image, intrinsics = np.zeros((*SIZE, 3), np.uint8), camera(focal_px)
    scales = [
        pipeline.step(CameraFrame(image, stamp, intrinsics=intrinsics), WANTED).scale for stamp in range(COMPARED)
    ]
    assert {scale.state for scale in scales} == {ScaleState.METRIC}
    assert [scale.road_ratio for scale in scales] == pytest.approx([ratio] * COMPARED, rel=0.01)
    assert not any(scale.doubt for scale in scales[:-1])
    assert doubt in scales[-1].doubt and bool(scales[-1].doubt) == bool(doubt)


@pytest.mark.parametrize(("intrinsics", "height_m"), [(camera(200.0), 0.0), (None, 1.5)])
def test_no_road_is_measured_without_a_height_or_k(intrinsics, height_m, monkeypatch):
    measured = []
    monkeypatch.setattr(pipeline_module, "fit_road", lambda *maps: measured.append(maps))
    assert step(Road(1.0), intrinsics, camera_height_m=height_m).scale.road_ratio is None
    assert not measured


@pytest.mark.slow
def test_one_scene_has_the_same_metres_through_three_lenses():
    """One network learns one rendered scene from cameras of three focal lengths; each of them then gets its metres."""
    torch.manual_seed(0)
    network = MonoDVPS(NetworkConfig(
        encoder="mobilenetv3_small_050", input_height=SIZE[0], input_width=SIZE[1], aspp_channels=16,
        semantic_channels=16, instance_channels=16, flow=False, depth_decoder="dense", metric=True,
        canonical_focal_px=CANONICAL_PX, min_depth_m=RANGE_M[0], max_depth_m=RANGE_M[1],
    ))  # fmt: skip
    seen = [
        Drive(SceneConfig(frames=1, height=SIZE[0], width=SIZE[1], focal_px=focal_px, antialias=False), 5)[0]
        for focal_px in (128.0, 192.0, 288.0)
    ]
    batch = TrainingBatch(
        torch.stack([torch.from_numpy(s.frame.image).permute(2, 0, 1) / 255 for s in seen]),
        torch.stack([torch.from_numpy(s.frame.intrinsics).float() for s in seen]),
        depth_m=torch.stack([torch.from_numpy(s.truth.depth_m[None]) for s in seen]),
    )
    objective = Objective(DEPTH_ALONE, CITYSCAPES, RANGE_M, canonical_focal_px=network.canonical_focal_px)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    for _ in range(300):
        optimizer.zero_grad()
        objective(batch, TrainingPrediction(network(batch.image)))["total"].backward()
        optimizer.step()
        schedule.step()
    network.eval()
    ahead = []
    for sample in seen:
        depth_m = Pipeline(network, PipelineConfig(device="cpu", sky_depth=True)).step(sample.frame, WANTED).depth_m
        true_m = sample.truth.depth_m
        known = true_m < 60
        assert np.median(np.abs(depth_m - true_m)[known] / true_m[known]) < 0.05
        ahead.append([below_the_horizon(depth, sample.frame.intrinsics) for depth in (depth_m, true_m)])
    metres, truth = np.array(ahead).transpose(1, 0, 2)
    assert (np.ptp(truth, axis=0) / truth.mean(axis=0) < 0.02).all()  # the same points of the road, whatever the lens
    assert np.abs(np.median(metres / truth, axis=1) - 1).max() < 0.05


def below_the_horizon(depth_m, intrinsics, slopes=(0.08, 0.1, 0.12, 0.14, 0.16)):
    """Depths where the road is met by rays that fall by the `slopes`; planes are linear in inverse depth."""
    column, row = round(intrinsics[0, 2]), intrinsics[1, 2] + np.array(slopes) * intrinsics[1, 1]
    return 1 / np.interp(row, np.arange(SIZE[0]), 1 / depth_m[:, column].astype(np.float64))
