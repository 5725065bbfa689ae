# SPDX-License-Identifier: Apache-2.0
"""Drives as a whole: the same again, the camera that was asked for, what is in them, and what is refused."""

import sys
import time

import numpy as np
import pytest
import torch

from monodvps_ros.config import SceneConfig
from monodvps_ros.errors import ConfigError, DeviceError
from monodvps_ros.labels import CITYSCAPES, decode_panoptic
from monodvps_ros.scenes import Drive
from monodvps_ros.scenes.actors import InstanceCounter
from monodvps_ros.types import SampleSource

SMALL = {"height": 48, "width": 160, "view_distance_m": 80.0}
ROAD = CITYSCAPES.class_id("road")
#: Classes that the two drives of `watched` must show between them; trains and buses are rarer.
EXPECTED = set(CITYSCAPES.names) - {"train", "bus"}


def bytes_of(sample):
    truth = sample.truth
    maps = sample.frame.image, truth.panoptic, truth.depth_m, truth.flow_px, truth.flow_visible, truth.world_from_camera
    return [array.tobytes() for array in maps]


@pytest.fixture(scope="module")
def watched():
    """Panoptic maps of two drives of 20 s, one frame a second, seen by a small camera."""
    config = SceneConfig(frames=20, rate_hz=1.0, antialias=False, height=48, width=160)
    return [np.stack([sample.truth.panoptic for sample in Drive(config, seed)]) for seed in (6, 8)]


class TestAgain:
    def test_same_seed_gives_same_bytes(self):
        config = SceneConfig(frames=3, **SMALL)
        first, second = Drive(config, 5), Drive(config, 5)
        for a, b in zip(first, second, strict=True):
            assert bytes_of(a) == bytes_of(b)

    def test_any_frame_at_any_time(self):
        drive = Drive(SceneConfig(frames=4, **SMALL), 5)
        alone = bytes_of(drive[3])
        in_order = [bytes_of(sample) for sample in drive]
        assert alone == in_order[3] == bytes_of(drive[-1])
        assert bytes_of(drive[0]) == in_order[0]

    def test_other_seed_gives_another_drive(self):
        config = SceneConfig(frames=1, weather="clear", **SMALL)
        one, other = Drive(config, 1)[0], Drive(config, 2)[0]
        assert np.abs(one.frame.image.astype(int) - other.frame.image).mean() > 10
        assert (one.truth.panoptic != other.truth.panoptic).mean() > 0.1

    def test_number_of_threads_changes_nothing(self):
        config, threads = SceneConfig(frames=2, **SMALL), torch.get_num_threads()
        one = bytes_of(Drive(config, 4)[1])
        try:
            torch.set_num_threads(2 if threads == 1 else 1)
            assert bytes_of(Drive(config, 4)[1]) == one
        finally:
            torch.set_num_threads(threads)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    def test_cuda_gives_the_same_within_rounding(self):
        config = {"frames": 2, "height": 96, "width": 320}
        on_cpu = Drive(SceneConfig(**config), 3)[1]
        on_cuda = Drive(SceneConfig(**config, device="cuda"), 3)[1]
        difference = np.abs(on_cpu.frame.image.astype(int) - on_cuda.frame.image)
        assert np.mean(difference > 1) < 0.005
        assert np.mean(on_cpu.truth.panoptic != on_cuda.truth.panoptic) < 0.001


class TestSource:
    def test_is_a_sample_source(self):
        drive = Drive(SceneConfig(frames=3, rate_hz=8.0, **SMALL), 0)
        assert isinstance(drive, SampleSource)
        assert (len(drive), drive.rate_hz, drive.label_space) == (3, 8.0, CITYSCAPES)
        samples = list(drive)
        assert [sample.index for sample in samples] == [0, 1, 2]
        assert np.diff([sample.frame.stamp_ns for sample in samples]).tolist() == [125_000_000] * 2

    def test_first_frame_has_no_flow(self):
        truth = Drive(SceneConfig(frames=1, **SMALL), 0)[0].truth
        assert np.isnan(truth.flow_px).all()
        assert not truth.flow_visible.any()

    def test_refuses(self):
        drive = Drive(SceneConfig(frames=2, **SMALL), 0)
        with pytest.raises(IndexError, match="frame 2 of a drive of 2"):
            drive[2]
        with pytest.raises(ConfigError, match="seed is -1"):
            Drive(SceneConfig(), -1)
        with pytest.raises(ConfigError, match="device is 'abacus'"):
            Drive(SceneConfig(device="abacus"), 0)
        with pytest.raises(ConfigError, match="device is 'meta'"):
            Drive(SceneConfig(device="meta"), 0)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
    def test_refuses_an_absent_device(self):
        with pytest.raises(DeviceError, match="no CUDA device"):
            Drive(SceneConfig(device="cuda"), 0)

    def test_instance_ids_end_at_999(self):
        counter = InstanceCounter()
        assert [counter.next("car") for _ in range(999)] == list(range(1, 1000))
        assert counter.next("person") == 1
        with pytest.raises(ConfigError, match="more than 999 instances of 'car'"):
            counter.next("car")


class TestCamera:
    @pytest.mark.parametrize(
        ("height", "width", "focal", "camera_height"), [(48, 160, 0.0, 1.5), (60, 90, 70.0, 1.1), (41, 121, 150.0, 2.4)]
    )
    def test_flat_road_without_pitch(self, height, width, focal, camera_height):
        config = SceneConfig(frames=1, height=height, width=width, focal_px=focal, camera_height_m=camera_height)
        sample = Drive(config, 3)[0]
        k = sample.frame.intrinsics
        assert sample.frame.size == (height, width)
        assert k[0, 0] == k[1, 1] == (focal or 0.6 * width)
        assert (k[0, 2], k[1, 2]) == ((width - 1) / 2, (height - 1) / 2)
        rows, columns = np.nonzero(sample.truth.panoptic // 1000 == ROAD)
        expected = camera_height * k[1, 1] / (rows - k[1, 2])
        assert len(rows) > 0.1 * height * width
        np.testing.assert_allclose(sample.truth.depth_m[rows, columns], expected, rtol=1e-5)

    @pytest.mark.parametrize("pitch", [-6.0, 8.0])
    def test_horizon_follows_pitch(self, pitch):
        config = SceneConfig(frames=1, camera_pitch_deg=pitch, height=96, width=320)
        sample = Drive(config, 3)[0]
        k, angle = sample.frame.intrinsics, np.deg2rad(pitch)
        horizon = k[1, 2] - k[1, 1] * np.tan(angle)
        classes = sample.truth.panoptic // 1000
        rows, columns = np.nonzero(classes == ROAD)
        assert rows.min() > horizon
        assert np.nonzero(classes == CITYSCAPES.class_id("sky"))[0].max() < horizon + k[1, 1] * 1.5 / 200.0
        y = (rows - k[1, 2]) / k[1, 1]
        expected = 1.5 / (y * np.cos(angle) + np.sin(angle))
        np.testing.assert_allclose(sample.truth.depth_m[rows, columns], expected, rtol=1e-5)

    def test_pose_stands_above_the_road_and_looks_along_it(self):
        drive = Drive(SceneConfig(frames=30, camera_height_m=1.8, **SMALL), 7)
        poses = np.stack([drive.world_from_camera(index) for index in range(30)])
        np.testing.assert_allclose(poses[:, 2, 3], 1.8)
        rotations = poses[:, :3, :3]
        unit = np.broadcast_to(np.eye(3), rotations.shape)
        np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1), unit, atol=1e-12)
        step = np.diff(poses[:, :3, 3], axis=0)
        moving = np.linalg.norm(step, axis=1) > 0.1
        along = (step[moving] * poses[1:][moving][:, :3, 2]).sum(1) / np.linalg.norm(step[moving], axis=1)
        assert moving.any()
        assert along.min() > 0.99

    def test_speed_curves_and_stops(self):
        drive = Drive(SceneConfig(frames=60, rate_hz=2.0, **SMALL), 1)
        poses = np.stack([drive.world_from_camera(index) for index in range(60)])
        speed = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1) * drive.rate_hz
        heading = np.unwrap(np.arctan2(poses[:, 1, 2], poses[:, 0, 2]))
        assert speed.max() <= 11.0
        assert speed.max() > 8.0
        assert (speed < 0.05).any()
        assert np.ptp(heading) > 0.3
        assert np.abs(np.diff(speed)).max() * drive.rate_hz < 7.0


class TestContent:
    def test_ids_are_valid_and_stuff_has_no_instance(self, watched):
        for panoptic in watched:
            classes, instances = decode_panoptic(panoptic)
            assert classes.max() < len(CITYSCAPES)
            assert (instances[CITYSCAPES.is_thing[classes]] > 0).all()
            assert (instances[~CITYSCAPES.is_thing[classes]] == 0).all()

    def test_classes(self, watched):
        found = {CITYSCAPES.names[i] for panoptic in watched for i in np.unique(panoptic // 1000)}
        assert found >= EXPECTED

    def test_an_id_leaves_and_returns(self, watched):
        returned = 0
        for panoptic in watched:
            for number in np.unique(panoptic[panoptic >= 11000]):
                there = np.flatnonzero((panoptic == number).sum((1, 2)) >= 6)
                returned += bool((np.diff(there) > 2).any())
        assert returned >= 2

    def test_some_cars_move_and_some_are_parked(self):
        drive = Drive(SceneConfig(frames=10, **SMALL), 1)
        first, last = drive[0], drive[9]
        both = np.intersect1d(first.truth.panoptic, last.truth.panoptic)
        cars = both[both // 1000 == CITYSCAPES.class_id("car")]
        shifts = [np.linalg.norm(middle_of(first, number) - middle_of(last, number)) for number in cars]
        assert min(shifts) < 2.0
        assert max(shifts) > 5.0

    def test_no_traffic_leaves_no_one(self):
        drive = Drive(SceneConfig(frames=40, traffic=0.0, antialias=False, **SMALL), 1)
        assert all(not (drive[index].truth.panoptic >= 11000).any() for index in (0, 20, 39))

    def test_weather_can_be_chosen(self):
        pictures = {}
        for weather in ("clear", "fog"):
            drive = Drive(SceneConfig(frames=1, weather=weather, **SMALL), 2)
            assert drive.weather.name == weather
            pictures[weather] = drive[0].frame.image.astype(float)
        assert pictures["fog"].std() < pictures["clear"].std()


def middle_of(sample, number):
    """Return the median place of an id's pixels in the world."""
    rows, columns = np.nonzero(sample.truth.panoptic == number)
    k, depth = sample.frame.intrinsics, sample.truth.depth_m[rows, columns]
    points = np.stack([(columns - k[0, 2]) / k[0, 0] * depth, (rows - k[1, 2]) / k[1, 1] * depth, depth])
    pose = sample.truth.world_from_camera
    return np.median(pose[:3, :3] @ points + pose[:3, 3:], axis=1)


@pytest.mark.slow
def test_throughput_is_shown(capsys):
    drive = Drive(SceneConfig(frames=30), 1)
    drive[4]
    begin = time.perf_counter()
    for index in range(5, 15):
        drive[index]
    rate = 10 / (time.perf_counter() - begin)
    with capsys.disabled():
        sys.stdout.write(f"\n192 x 640 with truth, {torch.get_num_threads()} threads: {rate:.1f} frames/s\n")
    assert rate > 0
