# SPDX-License-Identifier: Apache-2.0
"""The way of a frame with a model whose answers are known: sizes, metres, ids, cloud, segments, resets."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from monodvps_ros.config import PipelineConfig, TrackerConfig, load, settings
from monodvps_ros.errors import CameraInfoError, ConfigError, DeviceError
from monodvps_ros.geometry import scale_intrinsics
from monodvps_ros.geometry.rectification import Distortion, Rectification
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.outputs import ALL_OUTPUTS, Output, ScaleState
from monodvps_ros.perception import Pipeline, resolve_device
from monodvps_ros.perception.rectification import DeviceRectification, sampling_grid
from monodvps_ros.types import CameraFrame, NetworkOutput, PerceptionModel

NETWORK = (64, 128)
K = np.array([[100.0, 0, 79.5], [0, 100.0, 29.5], [0, 0, 1]])
CAMERA = (90, 160)
CAR = 13
HORIZON = 24  # row of the network's map at which the sky ends


class FlatWorld:
    """Sky over a road that lies 1.5 m / 3 below the camera in the model's unit, one car that drives to the right."""

    label_space = CITYSCAPES
    input_size = NETWORK
    depth_range_m = (0.1, 100.0)
    is_metric = False
    canonical_focal_px = 0.0
    description = "flat world"

    def __init__(self, with_flow=True):
        self.with_flow = self.has_flow = with_flow
        self.images = []
        self.memories = []

    def infer(self, image, memory=()):
        self.images.append(image.clone())
        self.memories.append(len(memory))
        step = int(memory[0]) if memory else 0
        height, width = NETWORK
        logits = torch.zeros(1, 19, height, width)
        logits[:, 10, :HORIZON] = 8.0
        logits[:, 0, HORIZON:] = 8.0
        left = 10 + 4 * step
        logits[:, CAR, 40:52, left : left + 20] = 16.0
        heatmap = torch.zeros(1, 1, height, width)
        heatmap[0, 0, 46, left + 10] = 0.9
        offsets = torch.zeros(1, 2, height, width)
        intrinsics = scale_intrinsics(K, CAMERA, NETWORK)
        v = torch.arange(height, dtype=torch.float64)
        inverse = ((v - intrinsics[1, 2]) / intrinsics[1, 1] / 0.5).clamp(min=0.011)
        disparity = ((inverse - 0.01) / 9.99).float()[None, None, :, None].expand(1, 1, height, width)
        flow = torch.zeros(1, 2, height, width)
        flow[:, 0, 40:52] = -4.0
        return NetworkOutput(
            logits,
            heatmap,
            offsets,
            disparities=(disparity,),
            flow_px=(flow,) if memory and self.with_flow else (),
            memory=(torch.tensor(step + 1),) if self.with_flow else (),
        )


def image_of(seed=0, size=CAMERA):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def frame(stamp=1, size=CAMERA, intrinsics=K):
    return CameraFrame(image_of(stamp, size), stamp, "front_optical", intrinsics)


def pipeline(model=None, **overrides):
    settings = {"device": "cpu", "scale.camera_height_m": 1.5, "scale.min_road_points": 50, **overrides}
    return Pipeline(model or FlatWorld(), load(PipelineConfig, None, settings))


def test_the_model_of_this_file_keeps_the_protocol():
    assert isinstance(FlatWorld(), PerceptionModel)


def test_whole_numbers_among_the_settings_work_at_their_limits():
    numbers = [entry for entry in settings(PipelineConfig) if entry.type is int]
    assert len(numbers) >= 8
    for limit in ("at_least", "at_most"):
        at_limit = {entry.name: getattr(entry, limit) for entry in numbers}
        assert pipeline(**at_limit).step(frame()).panoptic.shape == CAMERA


def test_a_class_that_the_model_lacks_is_named_in_few_characters():
    with pytest.raises(ConfigError, match=r"the model has no 'c+…c+' but road, ") as error:
        pipeline(classes=["c" * 10_000])
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("output_size", ["camera", "network"])
def test_maps_have_the_published_size_and_k_fits_them(output_size):
    seen = pipeline(output_size=output_size).step(frame())
    size = CAMERA if output_size == "camera" else NETWORK
    assert seen.depth_m.shape == seen.panoptic.shape == seen.semantic.shape == seen.confidence.shape == size
    assert seen.color.shape == (*size, 3)
    assert np.allclose(seen.intrinsics, scale_intrinsics(K, CAMERA, size))
    assert (seen.stamp_ns, seen.frame_id) == (1, "front_optical")
    assert seen.depth_m.dtype == np.float32 and seen.panoptic.dtype == np.uint16


def test_depth_is_metric_and_nan_in_the_sky():
    seen = pipeline().step(frame())
    assert seen.scale.state is ScaleState.ROAD
    assert seen.scale.factor == pytest.approx(3.0, rel=0.01)
    v = np.arange(CAMERA[0])
    expected = 1.5 * 100.0 / (v - 29.5)  # flat road under a level camera
    rows = slice(50, 88)
    assert np.allclose(seen.depth_m[rows, 5], expected[rows], rtol=0.02)
    sky = seen.semantic == 10
    assert sky.any() and np.isnan(seen.depth_m[sky]).all() and np.isfinite(seen.depth_m[~sky]).all()
    assert np.isfinite(pipeline(sky_depth=True).step(frame()).depth_m).all()


def test_points_project_back_onto_their_pixels():
    stride = 3
    seen = pipeline(**{"cloud.stride": stride}).step(frame())
    cloud = seen.cloud
    assert cloud.shape == (30, 54)
    v, u = np.meshgrid(np.arange(0, 90, stride), np.arange(0, 160, stride), indexing="ij")
    finite = np.isfinite(cloud["z"])
    assert finite.any() and not finite.all()
    assert np.abs(cloud["x"] / cloud["z"] * 100 + 79.5 - u)[finite].max() < 1e-3
    assert np.abs(cloud["y"] / cloud["z"] * 100 + 29.5 - v)[finite].max() < 1e-3
    assert np.array_equal(cloud["z"][finite], seen.depth_m[::stride, ::stride][finite])
    assert np.array_equal(cloud["label"] * 1000 + cloud["instance"], seen.panoptic[::stride, ::stride])
    colors = cloud["rgb"].copy().view(np.uint32)
    image = image_of(1)[::stride, ::stride].astype(np.uint32)
    assert np.array_equal(colors, image[..., 0] << 16 | image[..., 1] << 8 | image[..., 2])


def test_an_unorganized_cloud_leaves_missing_points_out_and_ranges_hold():
    full = pipeline().step(frame()).cloud
    seen = pipeline(**{"cloud.organized": False, "cloud.max_range_m": 5.0}).step(frame()).cloud
    kept = np.isfinite(full["z"]) & (full["z"] <= 5.0)
    assert seen.shape == (kept.sum(),)
    assert np.array_equal(seen, full[kept])


def test_segments_agree_with_the_maps():
    seen = pipeline().step(frame())
    assert sorted(segment.panoptic_id for segment in seen.segments) == np.unique(seen.panoptic).tolist()
    for segment in seen.segments:
        rows, columns = np.nonzero(seen.panoptic == segment.panoptic_id)
        assert segment.area_px == len(rows)
        assert segment.box_px == (columns.min(), rows.min(), columns.max(), rows.max())
        depth = seen.depth_m[rows, columns]
        if segment.class_name == "sky":
            assert np.isnan(segment.median_depth_m) and np.isnan(segment.centroid_m).all()
        else:
            assert segment.median_depth_m == pytest.approx(np.median(depth), rel=0.03)
            assert segment.centroid_m[2] == pytest.approx(depth.mean(), rel=0.05)
        assert 0.5 < segment.score <= 1.0
    car = next(segment for segment in seen.segments if segment.is_thing)
    assert (car.class_name, car.track_id, car.panoptic_id, car.age_frames) == ("car", 1, 13001, 1)


def test_void_is_void_in_every_output():
    """Stuff below its least area and things without a centre have no segment: void, which each output says its way."""

    class Ragged(FlatWorld):
        def infer(self, image, memory=()):
            output = super().infer(image, memory)
            output.class_logits[:, 8, 30:32, 60:64] = 20.0  # a bit of vegetation
            output.class_logits[:, 11, 26:30, 100:104] = 20.0  # a person, its centre below the threshold
            output.center_heatmap[0, 0, 46] = 0.0
            return output

    seen = pipeline(Ragged(), **{"grouping.min_stuff_area": 20000, "cloud.stride": 1}).step(frame())
    void = seen.panoptic == 65535
    assert 0.01 < void.mean() < 0.5
    np.testing.assert_array_equal(seen.semantic, np.where(void, 255, seen.panoptic // 1000))
    np.testing.assert_array_equal(seen.confidence == 0, void)
    assert (seen.color[1:-1, 1:-1][void[1:-1, 1:-1]].max(-1) % 255 == 0).all()  # black, or the white of a contour
    points = seen.cloud[np.isfinite(seen.cloud["z"])]
    np.testing.assert_array_equal(points["label"], seen.semantic[np.isfinite(seen.cloud["z"])])
    assert (points["instance"][points["label"] == 255] == 0).all()
    assert 65535 not in {segment.panoptic_id for segment in seen.segments}


def test_ids_persist_by_the_models_flow_by_dis_and_without():
    for overrides, model in (
        ({}, FlatWorld()),
        ({"tracker.flow": "dis"}, FlatWorld()),
        ({}, FlatWorld(with_flow=False)),
    ):
        running = pipeline(model, **overrides)
        for stamp in range(1, 5):
            seen = running.step(frame(stamp))
            assert {s.track_id for s in seen.segments if s.is_thing} == {1}
            assert 13001 in seen.panoptic


def test_asking_for_network_flow_of_a_model_without_is_an_error():
    with pytest.raises(ConfigError, match="no flow"):
        pipeline(FlatWorld(with_flow=False), **{"tracker.flow": "network"})
    running = pipeline(FlatWorld(with_flow=False))
    with pytest.raises(ConfigError, match="no flow"):
        running.configure(dataclasses.replace(running.config, tracker=TrackerConfig(flow="network")))


def test_without_k_there_are_masks_alone():
    seen = pipeline().step(frame(intrinsics=None))
    assert seen.cloud is None and seen.intrinsics is None
    assert np.isnan(seen.depth_m).all() and len(np.unique(seen.panoptic)) == 3
    assert seen.scale.state is ScaleState.UNKNOWN
    assert all(np.isnan(segment.centroid_m).all() for segment in seen.segments)
    fixed = pipeline(**{"scale.mode": "fixed"}).step(frame(intrinsics=None))
    assert fixed.cloud is None and any(np.isfinite(segment.median_depth_m) for segment in fixed.segments)


@pytest.mark.parametrize("unknown", ["withhold", "publish"])
def test_where_nobody_knows_the_scale_nothing_is_in_metres(unknown):
    seen = pipeline(**{"scale.camera_height_m": 0.0, "scale.unknown": unknown}).step(frame())
    assert (seen.scale.state, seen.scale.confidence) == (ScaleState.UNKNOWN, 0.0)
    assert np.isnan(seen.depth_m).all() == (unknown == "withhold")
    assert (seen.cloud is None) == (unknown == "withhold")
    assert len(seen.segments) == 3
    for segment in seen.segments:  # fields that are called metres have nothing else in either case
        assert np.isnan([segment.median_depth_m, *segment.centroid_m]).all()


@pytest.mark.parametrize("wanted", [frozenset({output}) for output in Output] + [frozenset()])
def test_what_is_not_wanted_is_not_made_and_what_is_made_is_the_same(wanted):
    alone, everything = pipeline().step(frame(), wanted), pipeline().step(frame(), ALL_OUTPUTS)
    for output in Output:
        got, full = alone[output], everything[output]
        if output not in wanted:
            assert got is None
        elif not isinstance(got, np.ndarray):
            assert repr(got) == repr(full)
        else:
            assert got.shape == full.shape and got.tobytes() == full.tobytes()


def test_nothing_runs_when_nothing_is_wanted():
    model = FlatWorld()
    pipeline(model).step(frame(), frozenset())
    assert model.images == []


def test_a_backward_stamp_and_a_new_size_reset():
    model = FlatWorld()
    running = pipeline(model)
    for stamp in (5, 6):
        running.step(frame(stamp))
    seen = running.step(frame(3))
    assert running.resets == 1 and model.memories == [0, 1, 0]
    assert {s.track_id for s in seen.segments if s.is_thing} == {2}
    running.step(frame(4, size=(45, 80)))
    assert running.resets == 2 and model.memories[-1] == 0


def test_an_equal_stamp_does_not_reset():
    running = pipeline()
    running.step(frame(5))
    running.step(frame(5))
    assert running.resets == 0


def test_while_nobody_looks_at_instances_nothing_is_tracked_and_nothing_stale_is_matched():
    model = FlatWorld()
    running = pipeline(model)
    running.step(frame(1))
    running.step(frame(2), frozenset({Output.DEPTH}))
    seen = running.step(frame(3))
    assert model.memories == [0, 1, 0]
    assert {s.track_id for s in seen.segments if s.is_thing} == {2}


def test_the_model_sees_the_whole_image_in_0_to_1():
    model = FlatWorld()
    white = CameraFrame(np.full((*CAMERA, 3), 255, np.uint8), 1, "c", K)
    pipeline(model).step(white)
    assert model.images[0].shape == (1, 3, *NETWORK)
    assert model.images[0].min() == model.images[0].max() == 1.0
    exact = CameraFrame(image_of(7, NETWORK), 1, "c", K)
    pipeline(model).step(exact)
    assert np.array_equal((model.images[1][0] * 255).round().byte().permute(1, 2, 0).numpy(), exact.image)


def test_unusable_k_names_it():
    with pytest.raises(CameraInfoError, match="focal"):
        pipeline().step(frame(intrinsics=np.diag([0.0, 1.0, 1.0])))
    with pytest.raises(CameraInfoError, match="finite"):
        pipeline().step(frame(intrinsics=np.full((3, 3), np.nan)))


def test_configure_keeps_tracks_and_refuses_what_needs_a_new_pipeline():
    running = pipeline()
    running.step(frame(1))
    running.configure(dataclasses.replace(running.config, output_size="network"))
    seen = running.step(frame(2))
    assert seen.depth_m.shape == NETWORK
    assert {s.track_id for s in seen.segments if s.is_thing} == {1}
    with pytest.raises(ConfigError, match="weights"):
        running.configure(dataclasses.replace(running.config, weights="other"))


def shifted_map(columns):
    """Each pixel of the rectified image lies `columns` farther right in the raw one."""
    raw = K + np.array([[0, 0, columns], [0, 0, 0], [0, 0, 0]])
    return Rectification(Distortion("plumb_bob", np.zeros(5), raw, np.eye(3)), K, CAMERA)


def test_a_distorted_image_is_rectified_before_anything_looks_at_it():
    raw = frame()
    rectified = np.empty_like(raw.image)
    rectified[:, :-20], rectified[:, -20:] = raw.image[:, 20:], raw.image[:, -1:]
    given, mapped = FlatWorld(), FlatWorld()
    straight = pipeline(given).step(dataclasses.replace(raw, image=rectified))
    seen = pipeline(mapped).step(dataclasses.replace(raw, rectification=shifted_map(20)))
    assert torch.equal(given.images[0], mapped.images[0])
    dark = np.zeros(CAMERA, bool)
    dark[:, -20:] = True  # the camera did not see these
    for name, nothing in (("semantic", 255), ("panoptic", 65535), ("confidence", 0)):
        assert (getattr(seen, name)[dark] == nothing).all()
        assert np.array_equal(getattr(seen, name)[~dark], getattr(straight, name)[~dark])
    assert np.isnan(seen.depth_m[dark]).all()
    assert np.allclose(seen.depth_m[~dark], straight.depth_m[~dark], rtol=1e-3, equal_nan=True)
    assert sum(segment.area_px for segment in seen.segments) == (seen.panoptic != 65535).sum()


def test_the_two_ways_to_rectify_agree():
    """OpenCV on a CPU and torch elsewhere; the latter is tried on the CPU here."""
    lens = Distortion("plumb_bob", np.array([-0.3, 0.1, 0.01, -0.02, 0]), K, np.eye(3))
    image = torch.from_numpy(cv2.GaussianBlur(image_of(3), (0, 0), 2))
    ours = DeviceRectification(Rectification(lens, K, CAMERA), torch.device("cpu"))
    other = DeviceRectification(Rectification(lens, K, CAMERA), torch.device("cpu"))
    other._grid = sampling_grid(ours.source.pixels, torch.device("cpu"))
    difference = (ours.apply(image).int() - other.apply(image).int()).abs()
    assert difference[ours.seen].float().max() <= 2  # OpenCV counts in 32nds of a pixel


def test_timings_name_the_stages_only_when_asked():
    assert not pipeline().step(frame()).timings_ms
    timings = pipeline(timing=True).step(frame()).timings_ms
    assert list(timings) == [
        "upload", "resize", "network", "upsample", "scale", "grouping", "tracker", "odometry",
        *(output.field for output in Output if output is not Output.ODOMETRY), "download",
    ]  # fmt: skip
    assert all(value >= 0 for value in timings.values())


def test_devices_that_are_not_there_are_refused():
    assert resolve_device("cpu").type == "cpu"
    for name in ("cuda:99", "gpu", "mps"):
        with pytest.raises(DeviceError, match=name):
            resolve_device(name)
    with pytest.raises(ConfigError, match="float16"):
        pipeline(precision="float16")
