# SPDX-License-Identifier: Apache-2.0
"""Pseudo-labels: their folder, going on after an interruption, what training makes of them."""

import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from bag_files import storage_file
from test_foundation import tiny_models  # noqa: F401 (a fixture)
from test_training_teachers import TINY
from training_clip import SIZE, Clip, make_config, make_dataset, make_objective

from monodvps_ros.cli.main import main
from monodvps_ros.config import PseudoLabelConfig, SceneConfig
from monodvps_ros.data import open_source
from monodvps_ros.data.formats.pseudo_labels import MANIFEST, PseudoLabelSource, write_inverse_depth, write_panoptic
from monodvps_ros.errors import ConfigError, DataError
from monodvps_ros.labels import CITYSCAPES, SEMKITTI, VOID_PANOPTIC_ID
from monodvps_ros.losses import TrainingPrediction
from monodvps_ros.network import MonoDVPS
from monodvps_ros.scenes import Drive, write_bag
from monodvps_ros.training.dataset import Draw, collate
from monodvps_ros.training.ego_region import EgoRegion
from monodvps_ros.training.pseudo_labels import PseudoLabelling, Recording
from monodvps_ros.training.validation import validate
from monodvps_ros.types import FrameTruth, NetworkOutput

CPU = torch.device("cpu")
CONFIG = PseudoLabelConfig(confidence=0.5, device="cpu")
FRAMES = 4


class Teacher:
    """Sees cars where the image is bright, each row of pixels one, and road elsewhere; notes how often it looked."""

    def __init__(self, labels=CITYSCAPES):
        self.labels, self.made_with, self.description, self.looks = labels, {"teacher": "bright"}, "bright", 0

    def predict(self, image):
        self.looks += 1
        bright = image.mean(1) > 0.5
        scores = torch.full((1, 19, *image.shape[2:]), -50.0)
        scores[:, 13] = torch.where(bright, 0.0, -50.0)
        scores[:, 0] = torch.where(bright, -50.0, 0.0)
        rows = torch.arange(1, image.shape[2] + 1)[None, :, None].expand_as(bright)
        return NetworkOutput(scores, instances=torch.where(bright, rows, 0), depth_m=torch.ones_like(scores[:, :1]))


class DepthTeacher:
    made_with, description, is_metric = {"name": "grey"}, "grey", False

    def inverse_depth(self, sample):
        return sample.frame.image.mean(2, dtype=np.float32) / 255


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    drive = Drive(SceneConfig(frames=FRAMES, height=64, width=96, view_distance_m=60.0, traffic=0.5), 2)
    return write_bag(drive, tmp_path_factory.mktemp("bag"))


def labelling(bag, out, **options):
    source = options.pop("source", None) or open_source(bag)
    teacher, config = options.pop("teacher", None) or Teacher(), options.pop("config", CONFIG)
    return PseudoLabelling(Recording(bag, source), out, teacher, config, CPU, **options)


def run(*arguments):
    """Run the command line; its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code or 0


class TestFolder:
    def test_with_its_recording_it_is_a_labelled_source(self, bag, tmp_path):
        made = labelling(bag, tmp_path / "labels", depth_teacher=DepthTeacher())
        assert len(list(made)) == made.written == FRAMES and made.kept == 0
        source = open_source(tmp_path / "labels")
        assert len(source) == FRAMES and source.label_space == CITYSCAPES
        assert source.rate_hz == pytest.approx(open_source(bag).rate_hz)
        for sample, true in zip(source, open_source(bag), strict=True):
            assert (sample.frame.image == true.frame.image).all() and sample.frame.stamp_ns == true.frame.stamp_ns
            assert (sample.frame.intrinsics == true.frame.intrinsics).all()
            assert (sample.sequence, sample.index) == (true.sequence, true.index)
            assert sample.truth.panoptic_is_pseudo and not true.truth.panoptic_is_pseudo
            bright = true.frame.image.mean(2) / 255 > 0.5
            assert ((sample.truth.panoptic // 1000 == 13) == bright)[np.abs(true.frame.image.mean(2) - 127.5) > 1].all()
            assert (sample.truth.depth_m == true.truth.depth_m)[np.isfinite(true.truth.depth_m)].all()
            grey = true.frame.image.mean(2) / 255
            expected = (grey - grey.min()) / (grey.max() - grey.min())
            np.testing.assert_allclose(sample.truth.inverse_depth, expected, atol=1e-4)
        assert source.unlabelled == 0

    def test_the_ego_car_is_void_and_has_no_depth(self, bag, tmp_path):
        ego = EgoRegion(polygon="0,50 95,50 95,63 0,63")
        list(labelling(bag, tmp_path / "labels", ego=ego, depth_teacher=DepthTeacher()))
        for sample in open_source(tmp_path / "labels"):
            assert (sample.truth.panoptic[50:] == VOID_PANOPTIC_ID).all()
            assert (sample.truth.panoptic[:50] != VOID_PANOPTIC_ID).any()
            assert np.isnan(sample.truth.inverse_depth[50:]).all()
            assert np.isfinite(sample.truth.inverse_depth[:50]).all()

    def test_true_labels_do_not_leak_and_are_kept_where_asked_for(self, bag, tmp_path, caplog):
        list(labelling(bag, tmp_path / "some", limit=1))
        source = open_source(tmp_path / "some")
        first, *others = source
        assert first.truth.panoptic_is_pseudo
        assert all(sample.truth.panoptic is None for sample in others) and source.unlabelled == FRAMES - 1
        assert f"some: {FRAMES - 1} of {FRAMES} frames have no label; finish with" in caplog.text
        teacher = Teacher()
        made = labelling(bag, tmp_path / "kept", teacher=teacher, keep_labels=True)
        list(made)
        assert (made.true, made.written, teacher.looks) == (FRAMES, 0, 0)
        for sample, true in zip(open_source(tmp_path / "kept"), open_source(bag), strict=True):
            assert (sample.truth.panoptic == true.truth.panoptic).all() and not sample.truth.panoptic_is_pseudo

    def test_it_moves_with_its_recording(self, bag, tmp_path):
        shutil.copytree(bag, tmp_path / "here" / "drive")
        list(labelling(tmp_path / "here" / "drive", tmp_path / "here" / "labels"))
        (tmp_path / "here").rename(tmp_path / "there")
        # sequences are named like the recording's folder, which kept its name
        assert all(sample.truth.panoptic_is_pseudo for sample in open_source(tmp_path / "there" / "labels"))
        shutil.rmtree(tmp_path / "there" / "drive")
        with pytest.raises(DataError, match=r"recording of these labels is not at .*here/drive"):
            open_source(tmp_path / "there" / "labels")

    def test_options_of_the_recording_do_not_apply(self, bag, tmp_path):
        list(labelling(bag, tmp_path / "labels"))
        for options in ({"image_topic": "/x"}, {"rate_hz": 3.0}, {"labels": SEMKITTI}):
            with pytest.raises(DataError, match="does not apply"):
                open_source(tmp_path / "labels", **options)

    def test_labels_that_do_not_fit_are_named(self, bag, tmp_path):
        list(labelling(bag, tmp_path / "labels"))
        files = sorted((tmp_path / "labels").rglob("*.png"))
        cv2.imwrite(str(files[0]), np.zeros((32, 48), np.uint16))
        with pytest.raises(DataError, match=f"{files[0].name}.*32 x 48"):
            list(open_source(tmp_path / "labels"))
        cv2.imwrite(str(files[0]), np.full((64, 96), 40000, np.uint16))
        with pytest.raises(DataError, match="class 40"):
            list(open_source(tmp_path / "labels"))
        manifest = tmp_path / "labels" / MANIFEST
        manifest.write_text(json.dumps({"label_space": "moon", "image_topic": None, "keep_labels": False}))
        with pytest.raises(DataError, match="moon"):
            open_source(tmp_path / "labels")
        manifest.write_text("{")
        with pytest.raises(DataError, match="JSON"):
            open_source(tmp_path / "labels")

    def test_inverse_depth_keeps_its_order_and_what_is_unknown(self, tmp_path):
        sample = Clip(1).sample(0)
        guess = np.linspace(-3.0, 900.0, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE)
        guess[0, 0] = np.nan
        write_inverse_depth(tmp_path, sample, guess)
        write_panoptic(tmp_path, sample, np.zeros(SIZE, np.uint16))
        (read,) = PseudoLabelSource(tmp_path, Clip(1))
        assert np.isnan(read.truth.inverse_depth[0, 0]) and np.isnan(read.truth.inverse_depth).sum() == 1
        scaled = np.polyfit(read.truth.inverse_depth.ravel()[1:], guess.ravel()[1:], 1)
        np.testing.assert_allclose(np.polyval(scaled, read.truth.inverse_depth)[1:], guess[1:], atol=0.02)
        write_inverse_depth(tmp_path, sample, np.full(SIZE, 5.0, np.float32))
        (flat,) = PseudoLabelSource(tmp_path, Clip(1))
        assert len(np.unique(flat.truth.inverse_depth)) == 1


class TestGoingOn:
    def test_after_the_last_whole_frame(self, bag, tmp_path):
        first = iter(labelling(bag, tmp_path / "labels"))
        next(first), next(first)
        stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "labels").rglob("*.png")}
        assert len(stamps) == 2
        partial = next(iter(stamps)).with_name(".000002_x.png.partial")
        partial.write_bytes(b"half")  # as a kill leaves it
        teacher = Teacher()
        made = labelling(bag, tmp_path / "labels", teacher=teacher)
        list(made)
        assert (made.kept, made.written, teacher.looks) == (2, 2, 2)
        assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
        assert "2 frames labelled, 2 kept" in made.summary()[0]
        assert not partial.exists()

    def test_a_frame_without_its_depth_is_not_whole(self, bag, tmp_path):
        list(labelling(bag, tmp_path / "labels", depth_teacher=DepthTeacher()))
        next(iter((tmp_path / "labels" / "inverse_depth").rglob("*.png"))).unlink()
        made = labelling(bag, tmp_path / "labels", depth_teacher=DepthTeacher())
        list(made)
        assert (made.kept, made.written) == (FRAMES - 1, 1)

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"config": dataclasses.replace(CONFIG, confidence=0.9)}, "confidence 0.5, which is now 0.9"),
            ({"ego": EgoRegion(polygon="0,0 5,0 5,5")}, "ego_region None, which is now '0,0"),
            ({"depth_teacher": DepthTeacher()}, "depth_teacher None"),
            ({"keep_labels": True}, "keep_labels False, which is now True"),
        ],
        ids=["confidence", "ego", "depth", "keep"],
    )
    def test_not_with_other_settings(self, bag, tmp_path, change, named):
        list(labelling(bag, tmp_path / "labels", limit=1))
        with pytest.raises(DataError, match=f"pseudo-labels that were made with {named}.*choose another folder"):
            labelling(bag, tmp_path / "labels", **change)

    def test_not_of_a_recording_that_was_replaced(self, bag, tmp_path):
        recording = Path(shutil.copytree(bag, tmp_path / "bag"))
        list(labelling(recording, recording / "labels", limit=1))
        assert labelling(recording, recording / "labels").length == FRAMES
        with storage_file(recording).open("ab") as file:
            file.write(b"more")
        with pytest.raises(DataError, match=r"pseudo-labels of .*bag, whose files have changed since"):
            labelling(recording, recording / "labels")

    def test_not_in_a_folder_of_something_else(self, bag, tmp_path):
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(DataError, match="not pseudo-labels"):
            labelling(bag, tmp_path)
        with pytest.raises(DataError, match="is a file"):
            labelling(bag, tmp_path / "notes.txt")

    def test_unreadable_frames_are_counted(self, tmp_path):
        made = labelling(tmp_path / "clip", tmp_path / "labels", source=Clip(4, broken=(1,)))
        assert [sample.index for sample in made] == [0, 2, 3]
        assert (made.written, made.unreadable) == (3, 1)
        assert any("1 frame could not be read" in line for line in made.summary())
        with pytest.raises(DataError, match="has no readable frame: frame 1 is damaged"):
            list(labelling(tmp_path / "clip", tmp_path / "none", source=Clip(2, broken=(0, 1))))

    def test_a_teacher_of_other_classes_is_refused(self, bag, tmp_path):
        with pytest.raises(ConfigError, match="'cityscapes' but the teacher 'semkitti'"):
            labelling(bag, tmp_path / "labels", teacher=Teacher(SEMKITTI))


class PseudoClip(Clip):
    """The same drive, with its labels called pseudo and a guess of its depth; void in the upper rows."""

    def sample(self, place):
        sample = super().sample(place)
        panoptic = sample.truth.panoptic.copy()
        panoptic[:16] = VOID_PANOPTIC_ID
        truth = FrameTruth(panoptic, panoptic_is_pseudo=True, inverse_depth=1.0 / sample.truth.depth_m)
        return dataclasses.replace(sample, truth=truth)


class TestTraining:
    def test_samples_say_whose_their_labels_are(self, tmp_path):
        config = make_config(augmentation={"flip": 0.0, "color": 0.0}, loss={"pseudo_depth": 1.0})
        pseudo, true = (make_dataset(tmp_path / kind.__name__, config, kind()) for kind in (PseudoClip, Clip))
        batch = collate([pseudo[Draw(1, 0)], true[Draw(1, 0)]]).truth
        assert batch.pseudo.tolist() == [True, False] and batch.labelled.tolist() == [True, True]
        np.testing.assert_allclose(batch.inverse_depth[0, 0, :, 45].unique(), [1 / 20, 1 / 8])
        assert batch.inverse_depth[1].isnan().all()

    def test_mirroring_takes_guessed_depth_along(self, tmp_path):
        plain, mirrored = (
            make_dataset(
                tmp_path / str(flip),
                make_config(augmentation={"flip": flip, "color": 0.0}, loss={"pseudo_depth": 1.0}),
                PseudoClip(),
            )[Draw(1, 0)]
            for flip in (0.0, 1.0)
        )
        assert torch.equal(mirrored["inverse_depth"], plain["inverse_depth"].flip(2))
        assert not torch.equal(mirrored["inverse_depth"], plain["inverse_depth"])

    def test_frames_with_guessed_depth_alone_serve_its_term(self, tmp_path):
        class GuessAlone(PseudoClip):
            def sample(self, place):
                sample = super().sample(place)
                return dataclasses.replace(sample, truth=FrameTruth(inverse_depth=sample.truth.inverse_depth))

        off = {"photometric": 0.0, "semantic": 0.0, "instance": 0.0, "flow": 0.0, "panoptic_smoothness": 0.0,
               "panoptic_edges": 0.0, "triplet": 0.0, "mask_moving_objects": False}  # fmt: skip
        dataset = make_dataset(tmp_path / "on", make_config(loss={**off, "pseudo_depth": 1.0}), GuessAlone(1))
        assert len(dataset) == 1
        with pytest.raises(DataError, match="pseudo_depth"):
            make_dataset(tmp_path / "labels", make_config(loss={**off, "pseudo_depth": 1.0}), Clip(1))

    def test_void_teaches_classes_centres_and_offsets_nothing(self, tmp_path):
        """Whatever the network says where the teacher was not sure, loss and gradient stay the same."""
        config = make_config(
            augmentation={"flip": 0.0, "color": 0.0}, loss={"depth": 0.0, "flow": 0.0, "hard_pixels": 1.0}
        )
        batch = collate([make_dataset(tmp_path, config, PseudoClip())[Draw(1, 0)]]).truth
        generator = torch.Generator().manual_seed(0)
        logits, heatmap, offsets = (torch.randn(1, n, *SIZE, generator=generator) for n in (19, 1, 2))

        def terms(*maps):
            for map_ in maps:
                map_.requires_grad_()
            output = NetworkOutput(maps[0], center_heatmap=maps[1], offsets_px=maps[2], disparities=(maps[1],))
            found = make_objective(config)(batch, TrainingPrediction(output))
            found["total"].backward()
            return {name: found[name].item() for name in ("semantic", "center", "offset")}

        maps = [map_.clone() for map_ in (logits, heatmap, offsets)]
        other = [map_.clone() for map_ in maps]
        for map_ in other:
            map_[:, :, :16] += 5.0 * torch.randn(map_[:, :, :16].shape, generator=generator)
        assert terms(*other) == pytest.approx(terms(*maps)) and min(terms(*maps).values()) > 0
        for map_ in maps:
            assert (map_.grad[:, :, :16] == 0).all() and (map_.grad[:, :, 16:] != 0).any()

    def test_nothing_is_measured_against_them_unasked(self, bag, tmp_path, capsys):
        list(labelling(bag, tmp_path / "labels"))
        network = MonoDVPS(TINY)
        with pytest.raises(DataError, match="pseudo-label"):
            validate(network, open_source(tmp_path / "labels"), 1)
        assert validate(network, open_source(tmp_path / "labels"), 1, against_teacher=True)["frames"] == 1
        assert run("train", "--data", bag, "--validate", tmp_path / "labels", "--out", tmp_path / "run") == 2
        assert "pseudo-labels, not ground truth" in capsys.readouterr().err
        words = ("--data", tmp_path / "labels", "--predictions", tmp_path)
        assert run("evaluate", *words) == 2
        assert "pseudo-labels, not ground truth" in capsys.readouterr().err
