# SPDX-License-Identifier: Apache-2.0
"""Folders of images, videos and the two data sets: what is read, and every refusal by path and value."""

import json
import logging
import os

import cv2
import numpy as np
import pytest
from PIL import Image

from monodvps_ros.data import open_source
from monodvps_ros.data.formats.cityscapes_dvps import CityscapesDvpsSource, CityscapesDvpsWriter
from monodvps_ros.data.formats.folder import FolderSource
from monodvps_ros.data.formats.semkitti_dvps import SemkittiDvpsSource
from monodvps_ros.data.formats.video import VideoSource
from monodvps_ros.data.image_files import (
    depth_from_file,
    depth_to_file,
    list_images,
    read_map,
    read_picture,
    write_image,
)
from monodvps_ros.errors import DataError
from monodvps_ros.types import CameraFrame, FrameTruth, Sample, SampleSource

K = [[50.0, 0, 3.5], [0, 60.0, 2.5], [0, 0, 1]]
CAMERA = {"width": 8, "height": 6, "rate_hz": 4, "K": np.ravel(K).tolist(), "camera_height_m": 1.2}
SIZE = (6, 8)


def picture(value):
    return np.full((*SIZE, 3), value, np.uint8)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "image").mkdir()
    for number in (1, 2, 10):
        write_image(tmp_path / "image" / f"frame_{number}.png", picture(number))
    (tmp_path / "camera.json").write_text(json.dumps(CAMERA))
    return tmp_path


def test_folder_is_read_in_natural_order_at_its_rate(folder):
    source = open_source(folder)
    assert isinstance(source, FolderSource) and isinstance(source, SampleSource)
    samples = list(source)
    assert [sample.frame.image[0, 0, 0] for sample in samples] == [1, 2, 10]
    assert [sample.frame.stamp_ns for sample in samples] == [1_000_000_000, 1_250_000_000, 1_500_000_000]
    assert samples[2].frame.intrinsics.tolist() == K
    assert (source.rate_hz, source.camera_height_m, len(source)) == (4, 1.2, 3)
    assert samples[1].source.endswith("frame_2.png") and samples[1].index == 1
    assert samples[0].truth.depth_m is None and samples[0].truth.panoptic is None


def test_folder_truth(folder):
    for name in ("depth_lidar", "panoptic"):
        (folder / name).mkdir()
    depth = np.zeros(SIZE, np.uint16)
    depth[0, 0] = 640
    cv2.imwrite(str(folder / "depth_lidar/frame_2.png"), depth)
    cv2.imwrite(str(folder / "panoptic/frame_10.png"), np.full(SIZE, 13007, np.uint16))
    poses = np.tile(np.eye(4)[:3].ravel(), (3, 1))
    poses[:, 11] = [0, 1, 2]
    np.savetxt(folder / "poses.txt", poses)
    first, second, third = (sample.truth for sample in open_source(folder))
    assert first.depth_m is None and third.depth_m is None
    assert second.depth_m[0, 0] == 2.5 and np.isnan(second.depth_m[0, 1])
    assert third.panoptic.dtype == np.uint16 and (third.panoptic == 13007).all()
    assert third.world_from_camera.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]]


def test_folder_without_camera_says_so(folder, caplog):
    (folder / "camera.json").unlink()
    with caplog.at_level(logging.WARNING):
        source = open_source(folder)
    assert source.rate_hz == 10 and "no camera.json" in caplog.text
    assert next(iter(source)).frame.intrinsics is None
    assert open_source(folder, rate_hz=2).rate_hz == 2


def test_images_may_lie_in_the_folder_itself(tmp_path):
    write_image(tmp_path / "a.png", picture(5))
    assert len(open_source(tmp_path)) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: [file.unlink() for file in (f / "image").iterdir()], "image: contains no images"),
        (lambda f: write_image(f / "image/frame_1.png", picture(1)[:5]), r"frame_1\.png: is 5 x 8 .*json is 6 x 8"),
        (lambda f: (f / "image/frame_2.png").write_bytes(b"x"), r"frame_2\.png: cannot be read as an image"),
        (lambda f: (f / "poses.txt").write_text("1 2 3\n"), r"poses\.txt: contains 1 line of 3 numbers; expected 3"),
        (lambda f: (f / "poses.txt").write_text("a b\n"), r"poses\.txt: cannot be read as numbers"),
        (lambda f: truth(f, "depth", "frame_7", np.uint16), r"frame_7\.png: has no image of its name \(1 such"),
        (lambda f: truth(f, "depth", "frame_1", np.uint8), r"frame_1\.png: contains 1 channel of uint8; expected 1"),
        (lambda f: truth(f, "depth", "frame_1", np.uint16, (5, 8)), r"depth/frame_1\.png: is 5 x 8 .* image is 6 x 8"),
        (lambda f: truth(f, "panoptic", "frame_1", np.uint16, SIZE, 20001), "panoptic id 20001 is of class 20"),
    ],
)
def test_folder_refusals(folder, change, words):
    change(folder)
    with pytest.raises(DataError, match=words):
        list(open_source(folder))


def truth(folder, kind, name, dtype, size=SIZE, value=1):
    (folder / kind).mkdir()
    cv2.imwrite(str(folder / kind / f"{name}.png"), np.full(size, value, dtype))


def test_depth_in_files():
    depth_m = np.array([0.0, np.nan, np.inf, -1, 1e-6, 1 / 256, 10.001, 255.99609375, 256, 1e9], np.float32)
    raw = depth_to_file(depth_m)
    assert raw.tolist() == [0, 0, 0, 0, 1, 1, 2560, 65535, 65535, 65535]
    np.testing.assert_array_equal(depth_from_file(raw)[[0, 5, 6]], np.float32([np.nan, 1 / 256, 10]))


def test_pictures_of_any_depth_and_names_in_order(tmp_path):
    cv2.imwrite(str(tmp_path / "g.png"), np.full(SIZE, 7, np.uint8))
    cv2.imwrite(str(tmp_path / "a.png"), np.full((*SIZE, 4), 9, np.uint8))
    cv2.imwrite(str(tmp_path / "b.png"), np.full((*SIZE, 3), [1, 2, 3], np.uint8))
    assert read_picture(tmp_path / "g.png")[0, 0].tolist() == [7, 7, 7]
    assert read_picture(tmp_path / "a.png").shape == (*SIZE, 3)
    assert read_picture(tmp_path / "b.png")[0, 0].tolist() == [3, 2, 1]
    assert read_map(tmp_path / "b.png", [np.uint8], 3)[0, 0].tolist() == [3, 2, 1]
    for name in ("i2.JPG", "i10.jpg", "i1.png", "i01.png", "readme.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in list_images(tmp_path)][3:] == ["i01.png", "i1.png", "i2.JPG", "i10.jpg"]
    with pytest.raises(DataError, match=r"none\.png: does not exist"):
        read_picture(tmp_path / "none.png")
    with pytest.raises(DataError, match=r"x\.png: an array \(2, 2\) of float64 is not an image"):
        write_image(tmp_path / "x.png", np.zeros((2, 2)))
    with pytest.raises(DataError, match=r"an array \(2, 2, 4\) of uint8 is not an image"):
        write_image(tmp_path / "x.png", np.zeros((2, 2, 4), np.uint8))
    with pytest.raises(DataError, match=r"cannot be written: No such file"):
        write_image(tmp_path / "nowhere/x.png", picture(1))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", ["run #3", "a%20b", os.fsdecode(b"caf\xe9")], ids=ascii)
def test_any_name_of_a_folder_of_images(tmp_path, name):
    (tmp_path / "made").mkdir()
    cv2.imwrite(str(tmp_path / "made/1.png"), picture(1))
    try:
        (tmp_path / "made").rename(tmp_path / name)
    except OSError:
        pytest.skip("this file system refuses the name")
    (sample,) = open_source(tmp_path / name)
    np.testing.assert_array_equal(sample.frame.image, picture(1)[..., ::-1])


def test_colours_are_no_ids(tmp_path):
    """As the palettes of label images, the renderings *_color, and the ids of COCO and KITTI-STEP in three channels."""
    Image.fromarray(np.full(SIZE, 2, np.uint8)).convert("P").save(tmp_path / "palette.png")
    cv2.imwrite(str(tmp_path / "colour.png"), np.full((*SIZE, 4), 2, np.uint8))
    for name, channels in (("palette.png", 3), ("colour.png", 4)):
        with pytest.raises(DataError, match=rf"{name}: contains {channels} channels of uint8; .*colours.*are not ids"):
            read_map(tmp_path / name, [np.uint16])


def video(path, frames=6, rate=5):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, (32, 24))
    for index in range(frames):
        writer.write(np.full((24, 32, 3), [40 * index, 0, 200], np.uint8))
    writer.release()
    return path


def test_video(tmp_path):
    source = open_source(video(tmp_path / "clip.avi"))
    assert isinstance(source, VideoSource) and isinstance(source, SampleSource)
    assert (len(source), source.rate_hz) == (6, 5)
    samples = list(source)
    assert [s.frame.stamp_ns for s in samples] == [1_000_000_000 + 200_000_000 * i for i in range(6)]
    assert np.abs(samples[3].frame.image.astype(int) - [200, 0, 120]).max() < 12
    assert samples[0].frame.intrinsics is None and samples[0].sequence == "clip"
    assert open_source(tmp_path / "clip.avi", rate_hz=50).rate_hz == 50


def test_video_refusals(tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"x\.mp4: cannot be read as a video"):
        open_source(tmp_path / "x.mp4")
    with pytest.raises(DataError, match="does not exist"):
        VideoSource(tmp_path / "y.mp4")


def test_options_that_do_not_apply_are_refused(folder, tmp_path):
    with pytest.raises(DataError, match=r"is a folder of images: image_topic \(/x\) does not apply"):
        open_source(folder, image_topic="/x")
    with pytest.raises(DataError, match="does not exist"):
        open_source(tmp_path / "nothing")
    (tmp_path / "x.txt").touch()
    with pytest.raises(DataError, match=r"of an unknown format; expected .* a recording .*, or a folder of images"):
        open_source(tmp_path / "x.txt")


def drive(count=3, k=K):
    rng = np.random.default_rng(0)
    for index in range(count):
        panoptic = rng.choice(np.array([0, 10000, 13000, 13001, 18999, 65535], np.uint16), SIZE)
        depth_m = rng.choice(np.array([np.nan, 0.5, 3.25, 200], np.float32), SIZE)
        image = rng.integers(0, 256, (*SIZE, 3), np.uint8)
        frame = CameraFrame(image, 1_000_000_000 + index * 200_000_000, intrinsics=None if k is None else np.array(k))
        yield Sample(frame, FrameTruth(panoptic, depth_m), "x", index)


@pytest.fixture
def cityscapes(tmp_path):
    for _ in range(2):
        writer = CityscapesDvpsWriter(tmp_path, rate_hz=5, split="val", camera_height_m=1.2)
        for sample in drive():
            writer.add(sample)
    return tmp_path


def test_cityscapes_round_trip(cityscapes):
    source = open_source(cityscapes)
    assert isinstance(source, CityscapesDvpsSource) and isinstance(source, SampleSource)
    assert len(source) == 6 and source.rate_hz == 5 and source.path == cityscapes / "video_sequence/val"
    samples = list(source)
    assert [(s.sequence, s.index) for s in samples] == [(f"{q:06d}", i) for q in (0, 1) for i in range(3)]
    for sample, expected in zip(samples, [*drive(), *drive()], strict=True):
        np.testing.assert_array_equal(sample.frame.image, expected.frame.image)
        np.testing.assert_array_equal(sample.truth.panoptic, expected.truth.panoptic)
        np.testing.assert_array_equal(sample.truth.depth_m, expected.truth.depth_m)
        assert sample.frame.stamp_ns == expected.frame.stamp_ns
        assert sample.frame.intrinsics.tolist() == K
    for path in (cityscapes / "video_sequence", cityscapes / "video_sequence/val"):
        assert len(open_source(path)) == 6


def test_cityscapes_files_are_as_the_public_scripts_read_them(cityscapes):
    label = cityscapes / "video_sequence/val/000001_000002_synthetic_000001_000002_gtFine_instanceTrainIds.png"
    values = cv2.imread(str(label), cv2.IMREAD_UNCHANGED)
    expected = list(drive())[2].truth
    assert values.dtype == np.uint16 and (values[expected.panoptic == 65535] == 32000).all()
    depth = cv2.imread(str(label).replace("gtFine_instanceTrainIds", "depth"), cv2.IMREAD_UNCHANGED)
    assert depth.dtype == np.uint16 and set(np.unique(depth)) == {0, 128, 832, 51200}
    kinds = {"leftImg8bit", "gtFine_instanceTrainIds", "depth"}
    names = {file.name for file in label.parent.glob("*.png")}
    assert names == {
        f"{q:06d}_{i:06d}_synthetic_{q:06d}_{i:06d}_{kind}.png" for q in (0, 1) for i in range(3) for kind in kinds
    }


def relabel(folder, value, size=SIZE):
    cv2.imwrite(str(sorted(folder.glob("*TrainIds.png"))[0]), np.full(size, value, np.uint16))


def renumber(folder):
    for file in folder.glob("000000_000001_*.png"):
        file.rename(folder / file.name.replace("000000_000001_synthetic_000000_000001", "000000_000001_a_0_000000"))


def test_cityscapes_as_it_is_published(tmp_path):
    """No cameras; every fifth frame of 17 Hz; pictures alone in the test split."""
    for index in range(3):
        name = f"000004_{index:06d}_ulm_000012_{19 + 5 * index:06d}_leftImg8bit.png"
        write_image(tmp_path / name, picture(index))
    source = open_source(tmp_path)
    assert source.rate_hz == pytest.approx(17 / 5)
    stamps = [sample.frame.stamp_ns for sample in source]
    assert np.diff(stamps) == pytest.approx(5e9 / 17, abs=1)
    assert next(iter(source)).truth.panoptic is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: next(d.glob("*1_*depth.png")).unlink(), r"_depth: is missing \(1 of 6 such files\)"),
        (lambda d: next(d.glob("*leftImg8bit.png")).unlink(), r"_gtFine_instanceTrainIds: has no image \(1 such"),
        (lambda d: (d / "notes.png").touch(), r"notes\.png: is not named as in Cityscapes-DVPS"),
        (lambda d: relabel(d, 32001), "panoptic id 32001 is of class 32"),
        (lambda d: relabel(d, 19000), "panoptic id 19000 is of class 19"),
        (lambda d: relabel(d, 65535), "contains value 65535; void is 32000"),
        (lambda d: relabel(d, 1, (5, 8)), "is 5 x 8 .* but the image is 6 x 8"),
        (renumber, r"stamp \d+ ns does not come after"),
        (lambda d: (d / "000000_camera.json").write_text(json.dumps({**CAMERA, "width": 9})), "camera.json is 6 x 9"),
    ],
)
def test_cityscapes_refusals(cityscapes, change, words):
    change(cityscapes / "video_sequence/val")
    with pytest.raises(DataError, match=words):
        list(open_source(cityscapes))


def test_several_splits_must_be_chosen_from(cityscapes):
    writer = CityscapesDvpsWriter(cityscapes, 5)
    for sample in drive(1, None):
        writer.add(sample)
    assert writer.sequence == 0 and writer.folder == cityscapes / "video_sequence/train"
    with pytest.raises(DataError, match=r"contains several splits; choose one of: .*train, .*val"):
        open_source(cityscapes)
    (only,) = open_source(writer.folder)
    assert only.frame.intrinsics is None
    with pytest.raises(DataError, match="city is 'a_b'"):
        CityscapesDvpsWriter(cityscapes, 5, city="a_b")
    with pytest.raises(DataError, match="does not apply"):
        open_source(writer.folder, rate_hz=3)


@pytest.fixture
def semkitti(tmp_path):
    for number in range(2):
        stem = f"000008_{number:06d}"
        write_image(tmp_path / f"{stem}_leftImg8bit.png", picture(number))
        classes, instances = np.full(SIZE, 255, np.uint8), np.zeros(SIZE, np.uint16)
        classes[0, :5], instances[0, :5] = [0, 0, 8, 5, 0], [4000, 70 + number, 0, 4000, 0]
        write_image(tmp_path / f"{stem}_gtFine_class.png", classes)
        write_image(tmp_path / f"{stem}_gtFine_instance.png", instances)
        write_image(tmp_path / f"{stem}_depth_718.8560180664062.png", np.full(SIZE, 512, np.uint16))
    return tmp_path


def test_semkitti(semkitti):
    source = open_source(semkitti)
    assert isinstance(source, SemkittiDvpsSource) and isinstance(source, SampleSource)
    first, second = source
    assert first.truth.panoptic[0, :6].tolist() == [2, 1, 8000, 5001, 0, 65535]  # cars 70 and 4000, a person 4000
    assert second.truth.panoptic[0, :6].tolist() == [2, 3, 8000, 5001, 0, 65535]  # car 71 is a new one
    assert (first.truth.depth_m == 2).all()
    assert second.frame.stamp_ns - first.frame.stamp_ns == 100_000_000
    assert first.frame.intrinsics is None and source.label_space.name == "semkitti"
    (semkitti / "000008_camera.json").write_text(json.dumps(CAMERA))
    assert next(iter(open_source(semkitti))).frame.intrinsics.tolist() == K


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: (d / "000008_000001_gtFine_instance.png").unlink(), r"_gtFine_instance: is missing \(1 of 2"),
        (lambda d: [f.unlink() for f in d.glob("*class.png")], r"contains \*_gtFine_instance.png but no"),
        (
            lambda d: write_image(d / "000008_000000_gtFine_class.png", np.full(SIZE, 19, np.uint8)),
            "contains class 19;",
        ),
        (lambda d: write_image(d / "000008_000000_gtFine_class.png", np.full((5, 8), 1, np.uint8)), "is 5 x 8"),
        (lambda d: (d / "x.png").touch(), "is not named as in SemKITTI-DVPS"),
    ],
)
def test_semkitti_refusals(semkitti, change, words):
    change(semkitti)
    with pytest.raises(DataError, match=words):
        list(open_source(semkitti))


def test_semkitti_with_more_instances_than_ids(semkitti):
    many = np.arange(1100).reshape(-1, 1) * np.ones((1, 2))
    for kind, pixels in (
        ("leftImg8bit", np.zeros((1100, 2, 3), np.uint8)),
        ("gtFine_class", np.zeros((1100, 2), np.uint8)),
        ("gtFine_instance", many.astype(np.uint16)),
        ("depth_700", np.zeros((1100, 2), np.uint16)),
    ):
        write_image(semkitti / f"000009_000000_{kind}.png", pixels)
    with pytest.raises(DataError, match="more than 999 instances of one class"):
        list(open_source(semkitti))


@pytest.mark.parametrize(
    ("name", "count", "size", "rate"),
    [
        ("kitti_color39", 39, (375, 1242), 10),
        ("kitti_odom03_gray", 160, (375, 1242), 10),
        ("camvid40", 40, (360, 480), 10),
        ("video/solidWhiteRight.mp4", 221, (540, 960), 25),
    ],
)
def test_recordings_of_the_world(real_data, name, count, size, rate):
    source = open_source(real_data / name)
    assert len(source) == count and source.rate_hz == pytest.approx(rate)
    sample = next(iter(source))
    assert sample.frame.size == size
    if name == "kitti_color39":
        assert 10_000 < np.isfinite(sample.truth.depth_m).sum() < 25_000
        assert sample.frame.intrinsics[0, 2] == 609.5593
    if name == "kitti_odom03_gray":
        assert source.camera_height_m == 1.65 and sample.truth.world_from_camera.shape == (4, 4)
