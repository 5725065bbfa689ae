# SPDX-License-Identifier: Apache-2.0
"""`monodvps pseudo-label`: what it writes, an interrupted run, refusals."""

import dataclasses
import json
import sys

import cv2
import numpy as np
import pytest
import torch
from test_foundation import tiny_models  # noqa: F401 (a fixture)
from test_training_pseudo_labels import FRAMES, run
from test_training_teachers import TINY

from monodvps_ros.cli.pseudo_label import parse_scales
from monodvps_ros.config import SceneConfig
from monodvps_ros.data import open_source
from monodvps_ros.data.formats.pseudo_labels import MANIFEST
from monodvps_ros.labels import SEMKITTI, VOID_PANOPTIC_ID
from monodvps_ros.network import MonoDVPS, save_weights
from monodvps_ros.scenes import Drive, write_bag


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    drive = Drive(SceneConfig(frames=FRAMES, height=64, width=96, view_distance_m=60.0, traffic=0.5), 2)
    return write_bag(drive, tmp_path_factory.mktemp("bag"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "start.safetensors"
    save_weights(path, MonoDVPS(TINY), {})
    return path


class TestCommand:
    SMALL = ("--scales", "0.5,1", "--device", "cpu")

    def test_a_recording_is_labelled_and_said_what_was_done(self, bag, weights, tmp_path, capsys):
        words = ("pseudo-label", "--data", bag, "--teacher", weights, "--out", tmp_path / "labels", *self.SMALL)
        assert run(*words, "--confidence", "0", "grouping.min_stuff_area=0", "--depth-teacher", weights) == 0
        assert f"{FRAMES} frames labelled" in capsys.readouterr().out
        manifest = json.loads((tmp_path / "labels" / MANIFEST).read_text())
        assert manifest["scales"] == [0.5, 1.0] and manifest["flips"] is True and manifest["confidence"] == 0.0
        assert manifest["grouping.min_stuff_area"] == 0 and len(manifest["teacher_sha256"]) == 64
        assert all(sample.truth.inverse_depth is not None for sample in open_source(tmp_path / "labels"))

    @pytest.mark.slow
    def test_ctrl_c_leaves_whole_frames_and_the_next_run_goes_on(self, bag, weights, tmp_path, monkeypatch, capsys):
        from monodvps_ros.training import pseudo_labels

        whole, count = pseudo_labels.label_image, []

        def interrupted(*arguments):
            count.append(1)
            if len(count) == 3:
                raise KeyboardInterrupt
            return whole(*arguments)

        words = ("pseudo-label", "--data", bag, "--teacher", weights, "--out", tmp_path / "labels", *self.SMALL)
        monkeypatch.setattr(pseudo_labels, "label_image", interrupted)
        assert run(*words) == 130
        files = list((tmp_path / "labels").rglob("*.png*"))
        assert len(files) == 2 and all(cv2.imread(str(file), cv2.IMREAD_UNCHANGED) is not None for file in files)
        monkeypatch.setattr(pseudo_labels, "label_image", whole)
        assert run(*words) == 0
        assert "2 frames labelled, 2 kept" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("--teacher", "nobody"), "no panoptic model 'nobody'; there are mask2former-cityscapes"),
            (("--teacher", "gone.safetensors"), "no such weights file"),
            (
                ("--teacher", "shipped", "--depth-teacher", "nobody"),
                "no depth model 'nobody'; there are depth-anything",
            ),
            (("--teacher", "mask2former-cityscapes", "--scales", "1"), "apply to MonoDVPS teachers only"),
            (("--teacher", "shipped", "--scales", "1:x"), "expected from:to:step"),
            (("--teacher", "shipped", "--scales", "9"), "at most 4"),
            (("--teacher", "shipped", "--scales", "2:1:0.5"), "scales is empty"),
            (("--teacher", "shipped", "--confidence", "1.5"), "confidence is 1.5"),
            (("--teacher", "shipped", "--size", "big"), "must be HxW"),
            (("--teacher", "shipped", "--ego-polygon", "1,2"), "three corners"),
            (("--teacher", "shipped", "--device", "tpu"), "not a device"),
            (("--teacher", "shipped", "bag"), "'bag' is not a setting"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
    )
    def test_what_is_wrong_is_one_line_and_leaves_nothing(self, bag, tmp_path, capsys, words, said):
        assert run("pseudo-label", "--data", bag, "--out", tmp_path / "labels", *words) == 2
        errors = capsys.readouterr().err
        assert said in errors and errors.count("\n") == 1
        assert not (tmp_path / "labels").exists()

    def test_hub_models_say_what_is_missing(self, bag, tmp_path, capsys, monkeypatch):
        words = ("pseudo-label", "--data", bag, "--out", tmp_path / "labels", "--teacher", "mask2former-cityscapes")
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "transformers", None)
            assert run(*words) == 2
            assert "pip install '.[foundation]' or make build" in capsys.readouterr().err
        pytest.importorskip("transformers")
        (tmp_path / "empty").mkdir()
        assert run(*words[:-1], tmp_path / "empty") == 2
        assert "check the name and the network connection, or give a folder" in capsys.readouterr().err
        assert not (tmp_path / "labels").exists()

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["panoptic", "queries"], ids=["mask2former", "oneformer"])
    def test_models_of_the_hub_label_too(self, bag, tiny_models, tmp_path, kind):  # noqa: F811
        words = ("--teacher", tiny_models / kind, "--depth-teacher", tiny_models / "relative", "--size", "64x96")
        labels = tmp_path / "labels"
        assert run("pseudo-label", "--data", bag, "--out", labels, *words, "--confidence", "0", "--device", "cpu") == 0
        for sample in open_source(labels):
            assert sample.truth.panoptic_is_pseudo and (sample.truth.panoptic != VOID_PANOPTIC_ID).any()
            assert np.isfinite(sample.truth.inverse_depth).all()

    @pytest.mark.slow
    def test_a_teacher_brings_its_own_classes_to_unlabelled_images(self, tmp_path, capsys):
        torch.manual_seed(0)
        save_weights(tmp_path / "kitti.safetensors", MonoDVPS(dataclasses.replace(TINY, label_space="semkitti")), {})
        (tmp_path / "images").mkdir()
        cv2.imwrite(str(tmp_path / "images" / "0.png"), np.zeros((64, 96, 3), np.uint8))
        words = ("--data", tmp_path / "images", "--teacher", tmp_path / "kitti.safetensors", "--device", "cpu")
        assert run("pseudo-label", *words, "--out", tmp_path / "labels", "--scales", "1") == 0
        assert open_source(tmp_path / "labels").label_space == SEMKITTI
        assert run("pseudo-label", *words, "--out", tmp_path / "kept", "--keep-labels") == 2
        assert "'cityscapes' but the teacher 'semkitti'" in capsys.readouterr().err

    def test_scales(self):
        assert parse_scales("0.5:2:0.25") == [0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0]
        assert parse_scales("1:1.25:0.1") == [1.0, 1.1, 1.2] and parse_scales("1,0.5") == [1.0, 0.5]
