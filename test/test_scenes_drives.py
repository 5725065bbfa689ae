# SPDX-License-Identifier: Apache-2.0
"""The splits of 'drives': fixed, apart from each other, written once, and known by their fingerprints."""

from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from monodvps_ros.cli import scenes as command
from monodvps_ros.cli.main import main
from monodvps_ros.config import SceneConfig
from monodvps_ros.data import open_source
from monodvps_ros.errors import DataError
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.scenes import Drive
from monodvps_ros.scenes.drives import SPLITS, SplitDrive, split
from monodvps_ros.scenes.fingerprints import (
    Likeness,
    fingerprint,
    stored_fingerprints,
    stored_platform,
    this_platform,
    written_fingerprint,
)
from monodvps_ros.scenes.split_files import is_written, write_drives

TINY = SceneConfig(frames=2, height=32, width=64, view_distance_m=60.0)
DRIVES = [SplitDrive("val", index, seed, True, TINY) for index, seed in enumerate((2, 3))]


def test_sizes_of_the_splits():
    drives = {name: split(name) for name in SPLITS}
    assert {name: (len(found), found[0].config.frames) for name, found in drives.items()} == {
        "train": (24, 60),
        "val": (6, 30),
        "test": (8, 40),
        "train2": (120, 12),
        "train3": (100, 12),
    }
    assert [drive.folder for drive in drives["train"]] == ["train/labelled"] * 10 + ["train/unlabelled"] * 14
    assert {drive.folder for drive in (*drives["val"], *drives["test"])} == {"val", "test"}
    for name in ("train2", "train3"):
        assert {(drive.folder, drive.labelled, drive.config.rate_hz) for drive in drives[name]} == {(name, True, 2.0)}


def test_splits_share_no_town_and_no_camera():
    drives = [drive for name in SPLITS for drive in split(name)]
    assert len({drive.seed for drive in drives}) == len(drives)
    cameras = {name: {_camera(drive) for drive in split(name)} for name in SPLITS}
    for one, other in combinations(SPLITS, 2):
        assert not cameras[one] & cameras[other]
    for drive in drives:
        height_m, pitch_deg, focal_px = _camera(drive)
        if drive.split in ("train2", "train3"):
            assert 1.1 <= height_m <= 2.3 and -1.5 <= pitch_deg <= 5.0 and 0.45 <= focal_px / 640 <= 0.9
        else:
            assert 1.3 <= height_m <= 1.8 and -1.0 <= pitch_deg <= 3.0 and 0.52 <= focal_px / 640 <= 0.68


def test_cameras_of_the_short_drives_are_all_kinds():
    for name, count, least in (("train2", 120, 15), ("train3", 100, 12)):  # of 20 and 17 in each sixth of the range
        cameras = np.array([_camera(drive) for drive in split(name)])
        assert len(np.unique(cameras, axis=0)) == count
        for values, low, high in zip(cameras.T, (1.1, -1.5, 0.45 * 640), (2.3, 5.0, 0.9 * 640), strict=True):
            assert np.histogram(values, 6, (low, high))[0].min() >= least
    first = split("train2")[0].config
    # halves, thirds, fifths: 1.1 + 1.2 / 2, -1.5 + 6.5 / 3, 0.45 + 0.45 / 5 of 640
    assert (first.camera_height_m, first.camera_pitch_deg, first.focal_px) == (1.7, 0.67, 345.6)


def test_every_weather_is_trained_on_and_tested():
    for name in ("train", "test", "train2", "train3"):
        assert {d.config.weather for d in split(name)} == {"clear", "morning", "evening", "overcast", "fog"}


def _camera(drive):
    return drive.config.camera_height_m, drive.config.camera_pitch_deg, drive.config.focal_px


@pytest.mark.parametrize(
    ("name", "index"), [("test", 0), pytest.param("train", 4, marks=pytest.mark.slow), ("train2", 1), ("train3", 2)]
)
def test_first_frames_have_the_stored_fingerprints(name, index):
    drive = split(name)[index]
    found = fingerprint([Drive(drive.config, drive.seed)[0]])
    likeness = stored_fingerprints()[f"{drive.name}/0"].compare(found)
    if this_platform() == stored_platform():
        assert likeness is Likeness.SAME
    else:
        assert likeness is not Likeness.OTHER, f"{found} on {this_platform()}"


def test_every_drive_has_a_stored_fingerprint():
    drives = [drive for name in SPLITS for drive in split(name)]
    stored = stored_fingerprints()
    assert stored.keys() == {drive.name for drive in drives} | {f"{drive.name}/0" for drive in drives}
    assert all(stored[drive.name].frames == drive.config.frames for drive in drives)


def test_short_drives_show_large_vehicles_as_often_as_the_test():
    stored, large = stored_fingerprints(), [CITYSCAPES.class_id(name) for name in ("truck", "bus")]
    shares = {
        name: np.mean([np.array(stored[drive.name].class_share)[large].sum() for drive in split(name)])
        for name in SPLITS
    }
    assert min(shares["train2"], shares["train3"]) >= shares["test"] > shares["train"]
    assert [shares[name] for name in ("train2", "train3", "test")] == pytest.approx([0.099, 0.1, 0.086], abs=5e-4)


@pytest.mark.parametrize(("large", "moving", "parked_buses"), [(1, 0.25, 0.0), (3, 0.48, 0.1)])
def test_more_large_vehicles_on_the_road_and_beside_it(large, moving, parked_buses):
    # Moving: of oncoming ones 2 in 10 as usual and 6 in 14 with three times as many, of those ahead 2 in 5 and 6 in 9.
    # Parked: 0.05 * 3 * 2 / 3.
    driving, parked = Counter(), Counter()
    for seed in range(4):
        drive = Drive(replace(TINY, large_vehicles=large, traffic=1.5), seed)
        driving.update(driver.kind for driver in (*drive.traffic.ahead, *drive.traffic.oncoming))
        standing = np.unique(drive.solids.panoptic[drive.solids.body == 0])
        parked.update(CITYSCAPES.names[id_ // 1000] for id_ in standing if id_ % 1000)
    shares = [
        sum(kinds[name] for name in large_ones) / sum(kinds[name] for name in ("car", "truck", "bus"))
        for kinds, large_ones in ((driving, ("truck", "bus")), (parked, ("bus",)))
    ]
    assert shares == pytest.approx([moving, parked_buses], abs=0.08)


class TestFingerprint:
    def samples(self, seed=2):
        return list(Drive(TINY, seed))

    def test_measures(self):
        sample = self.samples()[0]
        truth = sample.truth
        found = fingerprint([sample])
        assert found.frames == 1
        np.testing.assert_allclose(found.mean_rgb, sample.frame.image.reshape(-1, 3).mean(0), atol=1e-4)
        np.testing.assert_allclose(found.class_share[0], (truth.panoptic // 1000 == 0).mean(), atol=1e-6)
        known = truth.depth_m[np.isfinite(truth.depth_m)]
        assert found.mean_inverse_depth == pytest.approx((1.0 / known).mean(), rel=1e-3)

    @pytest.mark.parametrize("part", ["image", "panoptic", "depth_m", "intrinsics"])
    def test_the_digest_sees_every_part(self, part):
        sample = self.samples()[0]
        group = "frame" if part in ("image", "intrinsics") else "truth"
        values = getattr(getattr(sample, group), part).copy()
        values[-1, -1] += 1  # of K the 1 in the corner, of the maps the road at the bottom
        if part == "intrinsics":
            values = np.diag([1.001, 1.0, 1.0]) @ getattr(sample.frame, part)
        changed = replace(sample, **{group: replace(getattr(sample, group), **{part: values})})
        assert fingerprint([changed]).sha256 != fingerprint([sample]).sha256

    def test_likeness(self):
        found = fingerprint(self.samples())
        assert found.compare(fingerprint(self.samples())) is Likeness.SAME
        rounded = replace(found, sha256="0", mean_rgb=tuple(value + 0.04 for value in found.mean_rgb))
        assert found.compare(rounded) is Likeness.CLOSE
        for other in (
            fingerprint(self.samples(3)),
            replace(rounded, frames=1),
            replace(rounded, mean_rgb=tuple(value + 0.06 for value in found.mean_rgb)),
            replace(rounded, class_share=tuple(value + 2e-4 for value in found.class_share)),
            replace(rounded, mean_inverse_depth=1.001 * found.mean_inverse_depth),
        ):
            assert found.compare(other) is Likeness.OTHER


@pytest.mark.parametrize("as_bag", [True, False])
def test_drives_are_written_once_and_half_ones_again(tmp_path, as_bag):
    assert not any(is_written(drive, tmp_path, as_bag) for drive in DRIVES)
    assert list(write_drives(DRIVES, tmp_path, as_bag)) == DRIVES
    assert all(is_written(drive, tmp_path, as_bag) for drive in DRIVES)
    assert [sample.index for sample in open_source(tmp_path / "val")] == [0, 1, 0, 1]
    prints = [written_fingerprint(drive, tmp_path, as_bag) for drive in DRIVES]
    assert prints == [fingerprint(Drive(TINY, drive.seed)) for drive in DRIVES]
    if not as_bag:  # recordings appear whole
        next((tmp_path / "val/video_sequence/val").glob("000000_000001_*_leftImg8bit.png")).unlink()
        assert [is_written(drive, tmp_path, as_bag) for drive in DRIVES] == [False, True]
        list(write_drives(DRIVES[:1], tmp_path, as_bag))
        assert [written_fingerprint(drive, tmp_path, as_bag) for drive in DRIVES] == prints


def test_what_a_killed_run_left_is_removed(tmp_path):
    half = tmp_path / "val" / ".drive_000002.0123abcd.partial"
    half.mkdir(parents=True)
    list(write_drives(DRIVES[:1], tmp_path, as_bag=True))
    assert not half.exists() and is_written(DRIVES[0], tmp_path, as_bag=True)


@pytest.mark.slow
def test_processes_side_by_side_render_the_same(tmp_path):
    assert set(write_drives(DRIVES, tmp_path, as_bag=True, jobs=2)) == set(DRIVES)
    for drive in DRIVES:
        assert written_fingerprint(drive, tmp_path, as_bag=True) == fingerprint(Drive(TINY, drive.seed))


def test_a_missing_drive_has_no_fingerprint(tmp_path):
    with pytest.raises(DataError, match="drive_000002"):
        written_fingerprint(DRIVES[0], tmp_path, as_bag=True)


class TestCommand:
    @pytest.fixture(autouse=True)
    def tiny(self, monkeypatch):
        monkeypatch.setattr(command, "split", lambda name: DRIVES)

    def run(self, *words):
        with pytest.raises(SystemExit) as ended:
            main(["scenes", *map(str, words)])
        return ended.value.code

    def test_renders_what_is_missing(self, tmp_path, capsys):
        assert self.run("--split", "val", "--out", tmp_path) == 0
        assert "2 drives, 0 present; rendering 4 frames" in capsys.readouterr().err
        assert self.run("--split", "val", "--out", tmp_path) == 0
        assert "2 drives, 2 present; rendering 0 frames" in capsys.readouterr().err

    @pytest.mark.slow
    def test_checks(self, tmp_path, capsys, monkeypatch):
        assert self.run("--split", "val", "--out", tmp_path, "--check") == 2
        assert "drive_000002 is missing" in capsys.readouterr().err
        assert self.run("--split", "val", "--out", tmp_path) == 0
        stored = {drive.name: fingerprint(Drive(TINY, drive.seed)) for drive in DRIVES}
        monkeypatch.setattr(command, "stored_fingerprints", lambda: stored)
        assert self.run("--split", "val", "--out", tmp_path, "--check") == 0
        assert capsys.readouterr().out.count("same to the bit") == 2
        stored["drive_000003"] = stored["drive_000002"]
        assert self.run("--split", "val", "--out", tmp_path, "--check") == 1
        assert capsys.readouterr().out.count("not the same") == 1

    @pytest.mark.parametrize(
        ("words", "text"),
        [
            (("--split", "val", "--seed", 3), "--seed cannot be combined with --split"),
            (("--check",), "--check requires --split"),
            (("--jobs", 2), "--jobs requires --split"),
        ],
    )
    def test_refuses_what_does_not_go_together(self, tmp_path, capsys, words, text):
        assert self.run("--out", tmp_path, *words) == 2
        assert text in capsys.readouterr().err
        assert not list(tmp_path.iterdir())
