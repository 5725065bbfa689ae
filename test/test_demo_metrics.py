# SPDX-License-Identifier: Apache-2.0
"""The demo's recording measured against the drive's truth, beside the card's figures; and where those come from."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from monodvps_ros.cli.main import main
from monodvps_ros.config import NetworkConfig, SceneConfig
from monodvps_ros.data.bag import BagWriter
from monodvps_ros.demo.metrics import drive_metrics
from monodvps_ros.errors import DataError
from monodvps_ros.evaluation.result import CARD_KEY, FIGURES, for_card
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.network import MonoDVPS, read_card, save_weights
from monodvps_ros.scenes import Drive
from monodvps_ros.types import FrameTruth

SCORE = {
    "split": "test",
    "frames": 320,
    "min_area_px": 0,
    "settings": {},
    "weights": "tiny",
    "dataset": "recording",
    "figures": {"median": dict.fromkeys(FIGURES, 1.0), "live": dict.fromkeys(FIGURES, 2.0)},
    "by_depth_scaling": {},
}


@pytest.fixture(scope="module")
def samples():
    return list(Drive(SceneConfig(frames=4, height=48, width=96, view_distance_m=60.0), 3))


def record(path, samples, factor=1.0, topics=("panoptic", "depth")):
    """Write what a node would record that knows the truth."""
    with BagWriter(path) as writer:
        for sample in samples:
            stamp, frame = sample.frame.stamp_ns, sample.frame.frame_id
            writer.image("/image", stamp, frame, sample.frame.image, "rgb8")
            if "panoptic" in topics:
                writer.image("/panoptic/image", stamp, frame, sample.truth.panoptic, "16UC1")
            if "depth" in topics:
                writer.image("/depth/image", stamp, frame, sample.truth.depth_m * np.float32(factor), "32FC1")
    return path


def header(**card):
    return {"label_space": list(CITYSCAPES.names), "card": card}


def test_the_truth_scores_full_marks_and_dropped_frames_do_not_count(samples, tmp_path):
    recording = record(tmp_path / "recording", [samples[0], samples[2], samples[3]], factor=1.1)
    found = drive_metrics(samples, recording, CITYSCAPES, header())
    assert found["frames"] == 3 and found["card"] is None
    assert found["drive"].keys() == FIGURES.keys()
    assert found["drive"]["pq"] == 100.0 and found["drive"]["id_switches_per_track"] == 0.0
    assert found["drive"]["abs_rel"] == pytest.approx(0.1, abs=1e-5)


def test_the_cards_figures_stand_beside(samples, tmp_path):
    recording = record(tmp_path / "recording", samples)
    found = drive_metrics(samples, recording, CITYSCAPES, header(**{CARD_KEY: for_card(SCORE)}))
    assert found["card"] == {"split": "test", **SCORE["figures"]["live"]}
    assert drive_metrics(samples, recording, CITYSCAPES, None)["card"] is None


def test_without_truth_there_are_none(samples, tmp_path):
    recording = record(tmp_path / "recording", samples)
    bare = [replace(sample, truth=FrameTruth()) for sample in samples]
    guessed = [
        replace(sample, truth=FrameTruth(panoptic=sample.truth.panoptic, panoptic_is_pseudo=True)) for sample in samples
    ]
    other_classes = {"label_space": ["road"], "card": {}}
    assert drive_metrics(bare, recording, CITYSCAPES, header()) is None
    assert drive_metrics(guessed, recording, CITYSCAPES, header()) is None
    assert drive_metrics(samples, recording, CITYSCAPES, other_classes) is None


def test_without_k_depth_is_not_measured(samples, tmp_path):
    recording = record(tmp_path / "recording", samples)
    blind = [replace(sample, frame=replace(sample.frame, intrinsics=None)) for sample in samples]
    found = drive_metrics(blind, recording, CITYSCAPES, header())
    assert found["drive"]["abs_rel"] is None and found["drive"]["pq"] == 100.0


def test_a_recording_without_outputs_is_refused(samples, tmp_path):
    recording = record(tmp_path / "recording", samples, topics=())
    with pytest.raises(DataError, match="panoptic/image"):
        drive_metrics(samples, recording, CITYSCAPES, header())


def test_export_puts_a_score_into_the_card(tmp_path, capsys):
    config = NetworkConfig(
        encoder="mobilenetv3_small_050", input_height=64, input_width=96, aspp_channels=16, semantic_channels=16,
        instance_channels=16, flow=False,
    )  # fmt: skip
    torch.manual_seed(0)
    save_weights(tmp_path / "old.safetensors", MonoDVPS(config), {"steps": 7})
    (tmp_path / "score.json").write_text(json.dumps(SCORE))
    words = ("export", "--checkpoint", tmp_path / "old.safetensors", "--out", tmp_path / "new.safetensors")
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words), "--half", "--score", str(tmp_path / "score.json")])
    assert ended.value.code == 0
    card = read_card(tmp_path / "new.safetensors")["card"]
    assert card["steps"] == 7
    assert card[CARD_KEY] == {
        "split": "test", "dataset": "recording", "frames": 320, "min_area_px": 0, "settings": {},
        "figures": SCORE["figures"],
    }  # fmt: skip
