# SPDX-License-Identifier: Apache-2.0
"""A region of interest gives what a camera of that region would, and a class filter leaves the other classes void."""

import dataclasses

import numpy as np
import pytest
from test_perception_pipeline import CAMERA, CAR, FlatWorld, K, frame, image_of, pipeline

from monodvps_ros.config import PipelineConfig
from monodvps_ros.errors import ConfigError
from monodvps_ros.geometry.rectification import Distortion, Rectification
from monodvps_ros.outputs import Output
from monodvps_ros.perception import Pipeline
from monodvps_ros.types import CameraFrame

X, Y, WIDTH, HEIGHT = ROI = (20, 10, 120, 60)
REGION_K = np.array([[100.0, 0, 79.5 - X], [0, 100.0, 29.5 - Y], [0, 0, 1]])


def assert_same(one, other):
    assert np.array_equal(one.intrinsics, other.intrinsics)
    for output in Output:
        left, right = one[output], other[output]
        if isinstance(left, np.ndarray):
            assert left.shape == right.shape and left.tobytes() == right.tobytes(), output
        else:
            assert repr(left) == repr(right), output


@pytest.mark.parametrize("output_size", ["camera", "network"])
def test_a_region_is_what_a_camera_of_that_region_sees(output_size):
    cut = np.ascontiguousarray(image_of(1)[Y : Y + HEIGHT, X : X + WIDTH])
    alone = pipeline(output_size=output_size).step(CameraFrame(cut, 1, "front_optical", REGION_K))
    seen = pipeline(output_size=output_size, roi=list(ROI)).step(frame(1))
    assert_same(seen, alone)
    assert seen.depth_m.shape == ((HEIGHT, WIDTH) if output_size == "camera" else FlatWorld.input_size)


def test_a_region_is_cut_from_the_rectified_image():
    lens = Distortion("plumb_bob", np.array([0.4, 0.1, 0.01, -0.02, 0]), K, np.eye(3))
    rectification = Rectification(lens, K, CAMERA)
    raw = dataclasses.replace(frame(1), rectification=rectification)
    straight = np.ascontiguousarray(rectification.image(image_of(1))[:HEIGHT, :WIDTH])
    unseen = ~rectification.seen[:HEIGHT, :WIDTH]
    alone = pipeline().step(CameraFrame(straight, 1, "front_optical", K))
    seen = pipeline(roi=[0, 0, WIDTH, HEIGHT]).step(raw)
    assert np.array_equal(seen.image, alone.image) and np.array_equal(seen.intrinsics, K)
    both = np.isfinite(seen.depth_m) & np.isfinite(alone.depth_m)
    assert both.mean() > 0.2 and np.allclose(seen.depth_m[both], alone.depth_m[both], rtol=0.05)
    assert unseen.sum() > 100 and np.isnan(seen.depth_m[unseen]).mean() > 0.9


def test_a_region_that_is_none_or_not_in_the_image_is_refused():
    for roi in ([0, 0, 10], [0, 0, 10, 0], [1, 0, 0, 0]):
        with pytest.raises(ConfigError, match=r"roi is .*; it must be x, y, width and height"):
            PipelineConfig(roi=tuple(roi))
    with pytest.raises(ConfigError, match="roi is -1; it must be at least 0"):
        PipelineConfig(roi=(-1, 0, 10, 10))
    with pytest.raises(ConfigError, match=r"roi is \[100, 0, 61, 90\] .* it does not fit into 160x90"):
        pipeline(roi=[100, 0, 61, 90]).step(frame())
    running = pipeline()
    running.step(frame())
    with pytest.raises(ConfigError, match="does not fit into 160x90"):
        running.check(dataclasses.replace(running.config, roi=(0, 0, 160, 91)))
    running.check(dataclasses.replace(running.config, roi=(0, 0, 160, 90)))


def test_another_region_begins_anew_and_the_same_does_not():
    running = pipeline()
    running.step(frame(1))
    running.configure(dataclasses.replace(running.config, roi=ROI))
    assert running.resets == 1
    running.step(frame(2))
    running.configure(dataclasses.replace(running.config, sky_depth=True))
    running.step(frame(3))
    assert running.resets == 1


def test_classes_that_are_filtered_out_are_void_and_no_points():
    everything, cars = pipeline().step(frame()), pipeline(classes=["car"]).step(frame())
    is_car = everything.panoptic == CAR * 1000 + 1
    assert 0 < is_car.sum() < is_car.size
    assert np.array_equal(cars.panoptic, np.where(is_car, CAR * 1000 + 1, 65535))
    assert np.array_equal(cars.semantic, np.where(is_car, CAR, 255))
    assert [segment.class_name for segment in cars.segments] == ["car"]
    assert np.array_equal(np.isfinite(cars.cloud["z"]), is_car[::2, ::2])
    assert np.array_equal(cars.cloud["z"][is_car[::2, ::2]], everything.cloud["z"][is_car[::2, ::2]])
    assert np.array_equal(cars.depth_m, everything.depth_m, equal_nan=True)
    with pytest.raises(ConfigError, match="the model has no 'cow' but road, sidewalk"):
        Pipeline(FlatWorld(), dataclasses.replace(PipelineConfig(device="cpu"), classes=("car", "cow")))
