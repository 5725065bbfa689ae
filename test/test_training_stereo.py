# SPDX-License-Identifier: Apache-2.0
"""Depth in metres from stereo pairs: matching, the folder of a stereo camera, what training is given of it."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
from test_training_teachers import TINY

from monodvps_ros.cli.main import main
from monodvps_ros.config import AugmentationConfig, LossConfig, TrainingConfig
from monodvps_ros.data import open_source
from monodvps_ros.data.bag import BagWriter
from monodvps_ros.data.camera_file import CameraFile, read_camera, write_camera
from monodvps_ros.data.formats.pseudo_labels import MANIFEST, PseudoLabelSource, write_inverse_depth
from monodvps_ros.errors import DataError, ShapeError
from monodvps_ros.geometry.calibration import Calibration
from monodvps_ros.geometry.stereo import match_stereo
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.losses import Objective
from monodvps_ros.training.dataset import Draw, TrainingDataset, collate
from monodvps_ros.training.frames import store_frames
from monodvps_ros.types import CameraFrame, FrameTruth, Sample

HEIGHT, WIDTH, FOCAL, BASELINE = 64, 192, 100.0, 0.5
#: A plane at 10 m (100 * 0.5 / 10 = 5 px) and, in front of it, one at 2.5 m (20 px) in these columns of the left image.
FAR_PX, NEAR_PX, NEAR_COLUMNS = 5, 20, slice(100, 140)


def pair(seed=0, grey=False):
    """Texture on two planes: left and right image."""
    generator = np.random.default_rng(seed)
    far, near = (generator.integers(0, 256, (HEIGHT, WIDTH + NEAR_PX, 1 if grey else 3), np.uint8) for _ in range(2))
    left, right = far[:, :WIDTH].copy(), far[:, FAR_PX : FAR_PX + WIDTH].copy()
    left[:, NEAR_COLUMNS] = near[:, NEAR_COLUMNS]
    right[:, NEAR_COLUMNS.start - NEAR_PX : NEAR_COLUMNS.stop - NEAR_PX] = near[:, NEAR_COLUMNS]
    return tuple(np.repeat(image, 3, 2) if grey else image for image in (left, right))


def stereo_folder(path, count=3, without_right=(), **camera):
    for name in ("image", "image_right"):
        (path / name).mkdir(parents=True)
    for number in range(count):
        images = pair(number)
        for name, image in zip(("image", "image_right"), images, strict=True):
            if name == "image" or number not in without_right:
                cv2.imwrite(str(path / name / f"{number:03d}.png"), image[..., ::-1])
    values = {"width": WIDTH, "height": HEIGHT, "rate_hz": 10, "K": [FOCAL, 0, 96, 0, FOCAL, 32, 0, 0, 1]}
    (path / "camera.json").write_text(json.dumps({**values, "baseline_m": BASELINE, **camera}))
    return path


def run(*arguments):
    """Run the command line; its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code or 0


class TestMatching:
    @pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
    def test_planes_have_their_disparity_and_what_one_camera_sees_alone_has_none(self, grey):
        disparity = match_stereo(*pair(grey=grey))
        assert disparity.shape == (HEIGHT, WIDTH) and disparity.dtype == np.float32
        inner = slice(6, -6)
        assert disparity[inner, 106:134] == pytest.approx(NEAR_PX, abs=0.1)
        assert disparity[inner, 34:80] == pytest.approx(FAR_PX, abs=0.1)
        assert disparity[inner, 146:180] == pytest.approx(FAR_PX, abs=0.1)
        # Columns 85..99 lie behind the near plane for the right camera; the first 32 are not searched to the end.
        assert np.isnan(disparity[inner, 87:98]).mean() > 0.9
        assert np.isnan(disparity[:, :32]).all()

    def test_what_is_too_far_or_has_no_texture_has_none(self):
        left, _ = pair()
        assert np.isnan(match_stereo(left, np.roll(left, -1, 1))).all()  # 1 px is below the least disparity
        flat = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        assert np.isnan(match_stereo(flat, flat)).all()
        with pytest.raises(ShapeError):
            match_stereo(left, left[:, :-2])


class TestFolder:
    def test_depth_alone_in_metres(self, tmp_path, capsys):
        data = stereo_folder(tmp_path / "drive", without_right=(1,))
        assert run("pseudo-label", "--data", data, "--depth-teacher", "stereo", "--out", tmp_path / "labels") == 0
        said = capsys.readouterr()
        assert "2 frames labelled" in said.out and "1 frame has no depth" in said.out
        assert "in metres, by stereo matching" in said.err
        manifest = json.loads((tmp_path / "labels" / MANIFEST).read_text())
        assert (manifest["teacher"], manifest["inverse_depth"]) == (None, "metric")
        source = open_source(tmp_path / "labels")
        first, second, third = source
        assert second.truth.depth_m is None and second.truth.inverse_depth is None and source.unlabelled == 1
        for sample in (first, third):
            assert sample.truth.inverse_depth is None and sample.truth.panoptic is None
            depth_m = sample.truth.depth_m
            np.testing.assert_allclose(depth_m[6:-6, 106:134], 2.5, rtol=0.01)
            np.testing.assert_allclose(depth_m[6:-6, 34:80], 10.0, rtol=0.02)
            assert np.isnan(depth_m[6:-6, 87:98]).mean() > 0.9
        assert {sample.sequence for sample in (first, second, third)} == {"drive"}
        assert run("pseudo-label", "--data", data, "--depth-teacher", "stereo", "--out", tmp_path / "labels") == 0
        assert "0 frames labelled, 2 kept" in capsys.readouterr().out

    def test_a_frame_keeps_its_labels_true_or_pseudo_and_its_own_depth(self, tmp_path):
        data = stereo_folder(tmp_path / "drive")
        for folder, number, panoptic in (
            ("panoptic", 0, 0),
            ("panoptic_pseudo", 0, 8000),
            ("panoptic_pseudo", 1, 13001),
        ):
            (data / folder).mkdir(exist_ok=True)
            cv2.imwrite(str(data / folder / f"{number:03d}.png"), np.full((HEIGHT, WIDTH), panoptic, np.uint16))
        (data / "depth").mkdir()
        lidar = np.zeros((HEIGHT, WIDTH), np.uint16)
        lidar[32, 120] = 3 * 256
        cv2.imwrite(str(data / "depth" / "000.png"), lidar)
        assert run("pseudo-label", "--data", data, "--depth-teacher", "stereo", "--out", tmp_path / "labels") == 0
        first, second, third = (sample.truth for sample in open_source(tmp_path / "labels"))
        assert (first.panoptic == 0).all() and not first.panoptic_is_pseudo
        assert (second.panoptic == 13001).all() and second.panoptic_is_pseudo
        assert third.panoptic is None and not third.panoptic_is_pseudo
        assert first.depth_m[32, 120] == 3.0 and first.depth_m[32, 121] == pytest.approx(2.5, rel=0.01)
        assert second.depth_m[32, 120] == pytest.approx(2.5, rel=0.01)

    def test_stills_have_no_neighbours(self, tmp_path):
        data = stereo_folder(tmp_path / "streets", stills=True)
        assert run("pseudo-label", "--data", data, "--depth-teacher", "stereo", "--out", tmp_path / "labels") == 0
        samples = list(open_source(tmp_path / "labels"))
        assert [(sample.sequence, sample.index) for sample in samples] == [(f"streets_00{i}", 0) for i in range(3)]
        assert all(sample.truth.depth_m is not None for sample in samples)

    def test_training_is_given_metres_and_no_neighbours(self, tmp_path):
        data = stereo_folder(tmp_path / "streets", stills=True)
        assert run("pseudo-label", "--data", data, "--depth-teacher", "stereo", "--out", tmp_path / "labels") == 0
        config = TrainingConfig(
            network=dataclasses.replace(TINY, input_height=HEIGHT, input_width=WIDTH),
            loss=LossConfig(photometric=0.0, flow=0.0, semantic=0.0, instance=0.0, supervised_depth=1.0),
            augmentation=AugmentationConfig(flip=0.0, color=0.0),
        )
        store = store_frames([open_source(tmp_path / "labels")], (HEIGHT, WIDTH), tmp_path / "frames", "key")
        dataset = TrainingDataset(store, config, Objective(config.loss, CITYSCAPES))
        assert len(dataset) == 3
        batch = collate([dataset[Draw(place, 0)] for place in range(3)]).truth
        assert not batch.has_sources.any() and not batch.labelled.any()
        for depth_m in batch.depth_m[:, 0].numpy():
            np.testing.assert_allclose(depth_m[6:-6, 106:134], 2.5, rtol=0.01)
            assert np.isnan(depth_m[:, :32]).all()
        assert batch.inverse_depth is None or batch.inverse_depth.isnan().all()

    @pytest.mark.parametrize(
        ("camera", "said"),
        [
            ({"baseline_m": None}, "must have K and 'baseline_m'"),
            ({"baseline_m": -0.5}, "'baseline_m' is -0.5; expected a number above 0"),
            ({"K": None}, "must have K and 'baseline_m'"),
            ({"stills": 1}, "'stills' is 1; expected true or false"),
        ],
        ids=["none", "negative", "no K", "stills"],
    )
    def test_a_camera_file_that_does_not_serve_is_refused(self, tmp_path, capsys, camera, said):
        data = stereo_folder(tmp_path / "drive", 1, **camera)
        assert run("pseudo-label", "--data", data, "--depth-teacher", "stereo", "--out", tmp_path / "labels") == 2
        assert said in capsys.readouterr().err and not (tmp_path / "labels").exists()

    def test_no_right_images_or_of_another_size(self, tmp_path, capsys):
        data = stereo_folder(tmp_path / "drive", 1)
        cv2.imwrite(str(data / "image_right" / "000.png"), np.zeros((HEIGHT, 100, 3), np.uint8))
        words = ("pseudo-label", "--data", data, "--depth-teacher", "stereo", "--out", tmp_path / "labels")
        assert run(*words) == 2
        assert "64 x 100 (height x width) but the left image is 64 x 192" in capsys.readouterr().err
        (data / "image_right" / "000.png").unlink()
        assert run(*words) == 2
        assert "no frame can be labelled" in capsys.readouterr().err
        (data / "image_right").rmdir()
        assert run(*words) == 2
        assert "has no image_right/" in capsys.readouterr().err
        assert run("pseudo-label", "--data", data, "--out", tmp_path / "none") == 2
        assert "there is no teacher" in capsys.readouterr().err

    def test_the_camera_file_is_read_as_it_was_written(self, tmp_path):
        camera = CameraFile((4, 6), 10.0, baseline_m=0.12, stills=True)
        write_camera(tmp_path / "camera.json", camera)
        found = read_camera(tmp_path / "camera.json")
        assert (found.baseline_m, found.stills) == (0.12, True)


class ReceivedInTurn(BagWriter):
    """A recording of what is played again and again: stamps jump back, the time of receipt goes on."""

    received_ns = 0

    def raw(self, topic, type_name, cdr_bytes, receive_ns):
        self.received_ns += 1_000_000
        super().raw(topic, type_name, cdr_bytes, self.received_ns)


INTRINSICS = np.array([[FOCAL, 0.0, 96.0], [0.0, FOCAL, 32.0], [0.0, 0.0, 1.0]])


def stereo_bag(
    path, baseline_m=BASELINE, right="/stereo/right/image_rect", late_ns=0, right_focal=FOCAL, skip=(), loops=1
):
    """Three pairs at 10 Hz, played again and again; the right images of `skip` are missing."""
    intrinsics = INTRINSICS
    other = np.diag([right_focal / FOCAL, right_focal / FOCAL, 1.0]) @ intrinsics
    p = np.hstack([other, [[-right_focal * baseline_m], [0.0], [0.0]]])
    calibration = dataclasses.replace(Calibration.of_pinhole(other, (HEIGHT, WIDTH)), p=p)
    with (ReceivedInTurn if loops > 1 else BagWriter)(path) as writer:
        for number in [*range(3)] * loops:
            stamp = 1_000_000_000 + number * 100_000_000
            left_image, right_image = pair(number)
            writer.camera_info("/stereo/left/camera_info", stamp, "left", (HEIGHT, WIDTH), intrinsics)
            writer.image("/stereo/left/image_rect", stamp, "left", left_image, "rgb8")
            if number not in skip:
                writer.calibration(right.replace("image_rect", "camera_info"), stamp + late_ns, "right", calibration)
                writer.image(right, stamp + late_ns, "right", right_image, "rgb8")
    return path


class TestBag:
    LEFT = ("--image-topic", "/stereo/left/image_rect", "--depth-teacher", "stereo")

    def label(self, data, out, *words):
        return run("pseudo-label", "--data", data, "--out", out, *(words or self.LEFT))

    @pytest.mark.parametrize("late_ns", [0, 4_000_000])
    def test_the_right_topic_and_the_baseline_of_its_camera_info(self, tmp_path, capsys, late_ns):
        data = stereo_bag(tmp_path / "drive", skip=(1,), late_ns=late_ns)
        assert self.label(data, tmp_path / "labels") == 0
        assert "1 frame has no depth" in capsys.readouterr().out
        first, second, third = (sample.truth.depth_m for sample in open_source(tmp_path / "labels"))
        assert second is None
        for depth_m in (first, third):
            np.testing.assert_allclose(depth_m[6:-6, 106:134], 2.5, rtol=0.01)
            np.testing.assert_allclose(depth_m[6:-6, 34:80], 10.0, rtol=0.02)

    def test_the_parts_of_a_recording_whose_stamps_jump_back(self, tmp_path):
        data = stereo_bag(tmp_path / "drive", loops=2)
        assert self.label(data, tmp_path / "labels") == 0
        samples = list(open_source(tmp_path / "labels"))
        assert [sample.sequence for sample in samples] == ["drive"] * 3 + ["drive.part2"] * 3
        for sample in samples:
            np.testing.assert_allclose(sample.truth.depth_m[6:-6, 106:134], 2.5, rtol=0.01)

    def test_a_folder_of_bags_and_a_topic_of_another_name(self, tmp_path):
        for name in ("a", "b"):
            stereo_bag(tmp_path / "drives" / name, right="/other/image_rect")
        words = (*self.LEFT, "--depth-topic", "/other/image_rect")
        assert self.label(tmp_path / "drives", tmp_path / "labels", *words) == 0
        samples = list(open_source(tmp_path / "labels"))
        assert [sample.sequence for sample in samples] == ["a"] * 3 + ["b"] * 3
        for sample in samples:
            np.testing.assert_allclose(sample.truth.depth_m[6:-6, 106:134], 2.5, rtol=0.01)

    def test_raw_images_are_rectified_first(self, tmp_path):
        """A left camera with barrel distortion, a right one turned by 2 degrees about the optical axis of the pair."""
        d, turn = np.array([-0.05, 0.01, 0.0, 0.0, 0.0]), cv2.Rodrigues(np.deg2rad([0.0, 0.0, 2.0]))[0]
        left, right = (cv2.GaussianBlur(image, (0, 0), 1.0) for image in pair())  # so that it survives resampling
        p = np.hstack([INTRINSICS, np.zeros((3, 1))])
        shifted = p - np.array([[0, 0, 0, FOCAL * BASELINE], [0] * 4, [0] * 4])
        sides = ("left", left, d, np.eye(3), p), ("right", right, d * 1e-9, turn, shifted)
        with BagWriter(tmp_path / "drive") as writer:
            for name, image, coefficients, rotation, projection in sides:
                plain = Calibration.of_pinhole(INTRINSICS, (HEIGHT, WIDTH), "plumb_bob", coefficients)
                calibration = dataclasses.replace(plain, r=rotation, p=projection)
                writer.calibration(f"/stereo/{name}/camera_info", 10**9, name, calibration)
                grid = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), -1).reshape(-1, 1, 2) * 1.0
                flat = cv2.undistortPoints(grid, INTRINSICS, coefficients, R=rotation, P=INTRINSICS)
                at = flat.reshape(HEIGHT, WIDTH, 2).astype(np.float32)
                raw = cv2.remap(image, at[..., 0], at[..., 1], cv2.INTER_CUBIC)
                writer.image(f"/stereo/{name}/image_raw", 10**9, name, raw, "rgb8")
        words = ("--image-topic", "/stereo/left/image_raw", "--depth-teacher", "stereo")
        assert self.label(tmp_path / "drive", tmp_path / "labels", *words) == 0
        (sample,) = open_source(tmp_path / "labels")
        near, far = sample.truth.depth_m[10:-10, 108:132], sample.truth.depth_m[10:-10, 36:78]
        for depth_m, expected in ((near, 2.5), (far, 10.0)):
            assert np.isfinite(depth_m).mean() > 0.7
            np.testing.assert_allclose(np.nanmedian(depth_m), expected, rtol=0.03)

    @pytest.mark.parametrize(
        ("camera", "said"),
        [
            ({"baseline_m": 0.0}, "expected P[3] = -fx * baseline below 0"),
            ({"right_focal": 90.0}, "those of a rectified pair are the same"),
            ({"late_ns": 20_000_000}, "the recording contains nothing at their time"),
            ({"right": "/other/image_rect"}, "topic /stereo/right/image_rect is missing"),
        ],
        ids=["baseline", "focal", "late", "topic"],
    )
    def test_what_is_no_pair_is_refused(self, tmp_path, capsys, camera, said):
        data = stereo_bag(tmp_path / "drive", **camera)
        assert self.label(data, tmp_path / "labels") == 2
        assert said in capsys.readouterr().err


class Frame:
    """A recording of one frame."""

    rate_hz, label_space = 10.0, None

    def __init__(self, truth):
        self.sample = Sample(CameraFrame(np.zeros((2, 3, 3), np.uint8), 5), truth)

    def __len__(self):
        return 1

    def __iter__(self):
        return iter([self.sample])


def test_metres_are_stored_to_a_quarter_percent(tmp_path):
    depth_m = np.array([[0.25, 1.0, 10.0], [80.0, np.nan, 0.2]], np.float32)
    frame = Frame(FrameTruth())
    write_inverse_depth(tmp_path, frame.sample, 1 / depth_m, is_metric=True)
    file = next(tmp_path.rglob("*.png"))
    values = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    assert values.dtype == np.uint16 and values.tolist() == [[0, 16384, 1638], [205, 0, 0]]  # 16384 / 0.25 is 65536
    (read,) = PseudoLabelSource(tmp_path, frame, has_panoptic=False, is_metric=True)
    np.testing.assert_allclose(read.truth.depth_m, [[np.nan, 1.0, 10.0], [80.0, np.nan, np.nan]], rtol=0.0025)
    with pytest.raises(DataError, match="is 2 x 3"):
        frame.sample = Sample(CameraFrame(np.zeros((4, 3, 3), np.uint8), 5))
        list(PseudoLabelSource(tmp_path, frame, has_panoptic=False, is_metric=True))
