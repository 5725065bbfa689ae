# SPDX-License-Identifier: Apache-2.0
"""Drives written to files and read again, by function and from the command line."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from monodvps_ros.cli.main import main
from monodvps_ros.cli.options import parse_size
from monodvps_ros.config import SceneConfig
from monodvps_ros.data import open_source
from monodvps_ros.data.bag import BagReader
from monodvps_ros.data.formats.cityscapes_dvps import CityscapesDvpsSource, is_cityscapes_dvps
from monodvps_ros.errors import ConfigError, DataError
from monodvps_ros.scenes import Drive, write_bag, write_cityscapes_dvps

CONFIG = SceneConfig(frames=3, height=48, width=96, rate_hz=5.0, camera_height_m=1.25, view_distance_m=80.0)


@pytest.fixture(scope="module")
def drive():
    return Drive(CONFIG, 2)


def test_bag_holds_everything(drive, tmp_path):
    path = write_bag(drive, tmp_path)
    assert path == tmp_path / "drive_000002"
    read = list(open_source(path))
    assert len(read) == 3
    for sample, again in zip(drive, read, strict=True):
        assert again.frame.stamp_ns == sample.frame.stamp_ns
        np.testing.assert_array_equal(again.frame.image, sample.frame.image)
        np.testing.assert_allclose(again.frame.intrinsics, sample.frame.intrinsics)
        for name in ("panoptic", "depth_m", "flow_px", "flow_visible"):
            np.testing.assert_array_equal(getattr(again.truth, name), getattr(sample.truth, name))
        np.testing.assert_allclose(again.truth.world_from_camera, sample.truth.world_from_camera, atol=1e-9)


def test_bag_topics(drive, tmp_path):
    with BagReader(write_bag(drive, tmp_path)) as reader:
        counts = {name: topic.count for name, topic in reader.topics.items()}
    truth = [f"/camera/truth/{name}" for name in ("panoptic", "depth", "flow", "flow_visible")]
    assert counts == dict.fromkeys(["/camera/image_raw", "/camera/camera_info", "/tf", *truth], 3)


def test_cityscapes_dvps_holds_pictures_labels_and_depth(drive, tmp_path):
    write_cityscapes_dvps(drive, tmp_path)
    read = list(CityscapesDvpsSource(tmp_path))
    assert len(read) == 3
    for sample, again in zip(drive, read, strict=True):
        np.testing.assert_array_equal(again.frame.image, sample.frame.image)
        np.testing.assert_allclose(again.frame.intrinsics, sample.frame.intrinsics)
        np.testing.assert_array_equal(again.truth.panoptic, sample.truth.panoptic)
        np.testing.assert_allclose(again.truth.depth_m, sample.truth.depth_m, atol=1 / 256, equal_nan=True)


def test_a_second_drive_is_added_and_none_overwritten(tmp_path):
    drive, other = (Drive(SceneConfig(frames=1, height=32, width=64, view_distance_m=60.0), seed) for seed in (2, 3))
    for write in (write_bag, write_cityscapes_dvps):
        folder = tmp_path / write.__name__
        write(drive, folder)
        write(other, folder)
        with pytest.raises(DataError, match="already"):
            write(drive, folder)
    assert sorted(path.name for path in (tmp_path / "write_bag").iterdir()) == ["drive_000002", "drive_000003"]
    pictures = (tmp_path / "write_cityscapes_dvps").rglob("*_leftImg8bit.png")
    assert {path.name[:6] for path in pictures} == {"000000", "000001"}


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_drive_appears_whole_and_what_a_kill_left_is_removed(drive, tmp_path):
    seen = []

    def watched(samples):
        for sample in samples:
            yield sample
            seen.append(is_cityscapes_dvps(tmp_path / "whole"))

    images = write_cityscapes_dvps(drive, tmp_path / "whole", watched)
    whole = contents(tmp_path / "whole")
    assert seen == [False] * 3 and len(whole) == 10
    for moved in (0, 4, 9):  # files that a killed run had brought to their places
        left = tmp_path / f"left{moved}"
        write_cityscapes_dvps(Drive(replace(CONFIG, frames=1), 7), left)  # is kept
        before = contents(left)
        place = left / "video_sequence" / "train"
        (place / ".drive000002.0123abcd.partial" / "video_sequence").mkdir(parents=True)
        for file in sorted(images.iterdir(), key=lambda file: "leftImg8bit" in file.name)[:moved]:
            shutil.copy(file, place / file.name.replace("000000_", "000001_", 1))
        write_cityscapes_dvps(drive, left)
        assert len(list(CityscapesDvpsSource(left))) == 4
        now = contents(left)
        assert {name: now.pop(name) for name in before} == before
        assert sorted(now.values()) == sorted(whole.values())


class TestCommand:
    WORDS = ("--frames", "2", "--size", "32x64", "--focal", "50", "--height", "1.2", "--pitch", "2", "--rate", "4")

    def run(self, *words):
        with pytest.raises(SystemExit) as ended:
            main(["scenes", *map(str, words)])
        return ended.value.code

    def test_writes_what_was_asked_for(self, tmp_path):
        assert self.run("--out", tmp_path, "--seed", 4, "--format", "bag", *self.WORDS) == 0
        source = open_source(tmp_path / "drive_000004")
        samples = list(source)
        assert source.rate_hz == pytest.approx(4.0)
        assert [sample.frame.size for sample in samples] == [(32, 64)] * 2
        assert samples[0].frame.intrinsics[0, 0] == 50.0
        assert samples[0].truth.world_from_camera[2, 3] == pytest.approx(1.2)
        assert samples[0].truth.world_from_camera[2, 2] == pytest.approx(-np.sin(np.deg2rad(2)))

    def test_refuses_to_overwrite(self, tmp_path, capsys):
        words = ("--out", tmp_path, "--seed", 4, "--format", "cityscapes-dvps", *self.WORDS)
        assert self.run(*words) == 0
        assert self.run(*words) == 2
        assert "contains a drive of seed 4 already" in capsys.readouterr().err

    def test_refuses_what_it_cannot_render(self, tmp_path, capsys):
        assert self.run("--out", tmp_path, "--size", "64") == 2
        assert self.run("--out", tmp_path, "--weather", "snow") == 2
        error = capsys.readouterr().err
        assert "size is '64'; it must be HxW" in error
        assert "weather is 'snow'" in error

    @pytest.mark.parametrize("text", ["64", "64x", "axb", "64X64", "-1x5"])
    def test_size(self, text):
        assert parse_size("96x320") == (96, 320)
        with pytest.raises(ConfigError, match="HxW"):
            parse_size(text)
