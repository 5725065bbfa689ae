# SPDX-License-Identifier: Apache-2.0
"""Proofs on synthetic drives: what each switch of the objective changes, and that training does what it is for."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from ego_motion_bench import compare_motions, correlations, load_module, true_motion

from monodvps_ros.config import SceneConfig, TrainingConfig, from_dict, load, replace
from monodvps_ros.data import open_source
from monodvps_ros.losses import Objective
from monodvps_ros.network import MonoDVPS, load_network, save_weights
from monodvps_ros.scenes import Drive
from monodvps_ros.training.batch import with_float_images
from monodvps_ros.training.dataset import Draw, TrainingDataset, collate
from monodvps_ros.training.frames import store_frames
from monodvps_ros.training.module import TrainingModule
from monodvps_ros.training.predict import predict
from monodvps_ros.training.run import LAST_CHECKPOINT, train
from monodvps_ros.training.validation import figures, validate
from monodvps_ros.types import CameraFrame, FrameTruth, Sample

ROOT = Path(__file__).parent.parent
CONFIGS, WEIGHTS = ROOT / "config", ROOT / "monodvps_ros" / "weights"
SIZE = (64, 192)
GIVEN = {
    "network": {"encoder": "mobilenetv3_small_050", "input_height": 64, "input_width": 192, "aspp_channels": 32,
                "semantic_channels": 32, "instance_channels": 32, "flow_channels": 32},
    "pose_encoder": "mobilenetv3_small_050", "workers": 0, "device": "cpu", "validate_every": 0, "picture_every": 0,
    "center_sigma_px": 55.0, "augmentation": {"flip": 0.0, "color": 0.0},
}  # fmt: skip


def _config(**values):
    return from_dict(TrainingConfig, {**GIVEN, **values})


def _drive(seed, frames, **scene):
    return Drive(SceneConfig(frames=frames, height=SIZE[0], width=SIZE[1], rate_hz=5.0, **scene), seed)


def _batch(config, folder, source, places):
    store = store_frames([source], (config.network.input_height, config.network.input_width), folder, "")
    dataset = TrainingDataset(store, config, TrainingModule(config).objective)
    return with_float_images(collate([dataset[Draw(place, 0)] for place in places]))


# --- each switch, its own term ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """A batch with cars, and networks that do not change; the camera is said to move sideways, so that cars differ."""
    config = _config(loss={"supervised_depth": 1.0})
    batch = _batch(config, tmp_path_factory.mktemp("frames"), _drive(3, 5, traffic=2.0), (1, 2, 3))
    module = TrainingModule(config).eval()
    with torch.no_grad():
        final = module.pose_network.decoder[-1]
        final.weight.zero_()
        final.bias.copy_(torch.tensor([0.0, 0, 0, 20.0, 0, 0]))
    return module, batch, config


def _terms(still, config):
    """Compute all terms anew, networks included, as a training step under that configuration does."""
    module, batch, _ = still
    generator = torch.Generator().manual_seed(0)
    objective = Objective(config.loss, module.network.label_space, module.network.depth_range_m, generator)
    with torch.no_grad():
        return objective(batch.truth, predict(module.network, module.pose_network, batch, objective), 10, 100)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["panoptic_smoothness", "panoptic_edges", "triplet"])
def test_each_panoptic_guided_loss_changes_its_own_term_alone(still, name):
    config = still[2]
    on, off = _terms(still, config), _terms(still, replace(config, f"loss.{name}", 0.0))
    assert on.keys() - off.keys() == {name}
    sums = {"depth", "total"}
    assert all(torch.equal(on[other], off[other]) for other in off.keys() - sums)
    share = getattr(config.loss, name) * on[name].item()
    assert share > 0
    # The sums are of float32, and far larger than the least of their terms.
    assert (on["depth"] - off["depth"]).item() == pytest.approx(share, abs=4e-7 * on["depth"].item())
    depth = config.loss.depth
    assert (on["total"] - off["total"]).item() == pytest.approx(depth * share, abs=4e-7 * on["total"].item())


@pytest.mark.slow
def test_the_mask_of_moving_objects_changes_the_photometric_term_alone(still):
    config = still[2]
    on, off = _terms(still, config), _terms(still, replace(config, "loss.mask_moving_objects", False))
    assert on.keys() == off.keys()
    changed = {name for name in on if not torch.equal(on[name], off[name])}
    assert changed == {"photometric", "depth", "total"}
    change = (on["photometric"] - off["photometric"]).item() * config.loss.photometric
    assert abs(change) > 1e-4
    assert (on["depth"] - off["depth"]).item() == pytest.approx(change, abs=4e-7 * on["depth"].item())
    total = (on["total"] - off["total"]).item()
    assert total == pytest.approx(config.loss.depth * change, abs=4e-7 * on["total"].item())


# --- what training is for ---------------------------------------------------------------------------------------------

#: Smoothness and edges pull against each other: what one of them gains the other loses, so no start lets all ten fall.
STARTS = {
    "flat": (1.0, {"smoothness", "panoptic_smoothness"}),  # as networks begin: a flat map is as smooth as can be
    "rough": (12.0, {"panoptic_edges"}),  # disparity is noise, which has steps everywhere, at edges too
}


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS)
def test_training_lowers_each_term_that_has_something_to_lose(start, tmp_path):
    """All ten terms are on; each is measured on the same three samples in training mode, with the same random draws."""
    gain, at_its_best = STARTS[start]
    config = _config(
        max_steps=80, batch_size=3, checkpoint_every=80,
        loss={"supervised_depth": 1.0, "smoothness": 0.1, "panoptic_smoothness": 0.1, "panoptic_edges": 1.0,
              "triplet": 0.3},
        optimizer={"learning_rate": 2e-3, "pose_learning_rate": 5e-4, "warmup_steps": 5},
    )  # fmt: skip
    begun = TrainingModule(config)
    with torch.no_grad():
        for scale in begun.network.depth_head.scales:
            scale.final.weight.mul_(gain)
    save_weights(tmp_path / "start.safetensors", begun.network, {})
    clip = _drive(3, 10)
    batch = _batch(config, tmp_path / "frames", clip, (2, 4, 6))
    train(config, [clip], tmp_path / "out", weights=str(tmp_path / "start.safetensors"))
    with torch.no_grad():
        before = begun.train().losses(batch)
        after = load_module(tmp_path / "out" / LAST_CHECKPOINT).train().losses(batch)
    shares = {name: (after[name] / before[name]).item() for name in begun.objective.active_terms}
    print({name: round(share, 3) for name, share in shares.items()})
    assert len(shares) == 10
    assert {name for name, share in shares.items() if share >= 1.0} <= at_its_best
    assert (after["total"] / before["total"]).item() < 0.5


@pytest.mark.slow
def test_depth_of_a_drive_that_was_not_trained_on_gets_better(tmp_path):
    """Four short drives with labels and measured depth, a fifth to measure on; docs/training.md has the figures."""
    config = _config(
        max_steps=240, batch_size=4, checkpoint_every=240, augmentation={"color": 0.0},
        loss={"depth": 10.0, "supervised_depth": 1.0, "photometric": 0.0, "panoptic_smoothness": 0.0,
              "panoptic_edges": 0.0, "triplet": 0.0, "flow": 0.0, "mask_moving_objects": False},
        optimizer={"learning_rate": 2e-3, "warmup_steps": 10},
    )  # fmt: skip
    held_out = list(_drive(21, 24))[::2]
    before = figures(validate(TrainingModule(config).network, held_out, 12))
    drives = [_drive(seed, 12) for seed in (31, 32, 33, 34)]
    result = train(config, drives, tmp_path / "out")
    after = figures(validate(load_network(result.weights), held_out, 12))
    print(before, after)
    assert after["absRel"] < before["absRel"] - 0.1


@pytest.mark.slow
def test_the_weights_that_ship_see_a_drive_that_they_were_not_trained_on():
    """They were made by this trainer from such drives of other seeds; the start is the same network, untrained."""
    shipped = load_network(WEIGHTS / "drives.safetensors")
    height, width = shipped.input_size
    held_out = list(Drive(SceneConfig(frames=24, height=height, width=width, rate_hz=5.0), 990))[::2]
    before = figures(validate(MonoDVPS(shipped.config), held_out, 12))
    after = figures(validate(shipped, held_out, 12))
    print(before, after)
    assert after["PQ"] > before["PQ"] + 0.08
    assert after["absRel"] < before["absRel"] - 0.15


# --- real frames ------------------------------------------------------------------------------------------------------


def _photometric(module, batch):
    """Measure the loss as training does, with one fixed draw of the noise that breaks ties."""
    with torch.no_grad():
        return module.eval().losses(batch)["photometric"].item()


class Part:
    """Some frames of a source, as a source."""

    def __init__(self, source, first, last):
        self._source, self._first, self._last = source, first, last
        self.rate_hz, self.label_space = source.rate_hz, source.label_space

    def __len__(self):
        return self._last - self._first

    def __iter__(self):
        return islice(iter(self._source), self._first, self._last)


def test_motion_between_poses_is_measured_as_the_pose_network_counts_it():
    """A camera that goes 2 m ahead and turns left by 0.1 rad sees points come nearer and turn right."""
    turn = np.array([[np.cos(-0.1), 0, np.sin(-0.1)], [0, 1, 0], [-np.sin(-0.1), 0, np.cos(-0.1)]])
    second = np.eye(4)
    second[:3, :3], second[:3, 3] = turn, [0, 0, 2.0]
    image = np.zeros((64, 96, 3), np.uint8)
    before, after = (
        Sample(CameraFrame(image, stamp), FrameTruth(world_from_camera=pose))
        for stamp, pose in ((0, np.eye(4)), (1, second))
    )
    rotation, translation = true_motion(before, after)
    np.testing.assert_allclose(rotation, [0, 0.1, 0], atol=1e-12)
    np.testing.assert_allclose(turn @ translation, [0, 0, -2.0], atol=1e-12)
    found, true = compare_motions(lambda a, b: (torch.zeros(1, 3), torch.ones(1, 3)), [before, after], (32, 32))
    assert found.tolist() == [[0, 0, 0, 1, 1, 1]]
    np.testing.assert_allclose(true[0], np.concatenate([rotation, translation]))


def test_correlation_is_of_magnitudes():
    true = np.array([[0, 0.1, 0, 0, 0, -1.0], [0, 0.2, 0, 0, 0, -2.0], [0, 0.1, 0, 0, 0, -4.0]])
    found = true * [1, -1, 1, 0.1, 0.1, -0.1]
    assert correlations(found, true) == pytest.approx({"translation": 1.0, "yaw": -1.0})


@pytest.mark.slow
def test_photometric_loss_falls_on_real_frames_that_were_not_trained_on(real_data, tmp_path):
    source = open_source(real_data / "kitti_odom03_gray")
    settings = {"max_steps": 100, "device": "cpu", "pose_encoder_weights": "", "optimizer.average": 0.9}
    config = load(TrainingConfig, CONFIGS / "self_supervised.yaml", settings)
    weights = WEIGHTS / "drives.safetensors"
    module = TrainingModule(config, str(weights))
    fast = Part(source, 0, 20)  # 0.9 m a frame, straight on
    held_out = _batch(config, tmp_path / "held_out", fast, (2, 7, 12, 17))
    train(config, [Part(source, 40, 160)], tmp_path / "out", weights=str(weights))
    trained = load_module(tmp_path / "out" / LAST_CHECKPOINT)
    before, after = (_photometric(each, held_out) for each in (module, trained))
    print(f"photometric loss on held-out frames: {before:.4f} before, {after:.4f} after")
    assert after < 0.9 * before


@pytest.mark.slow
def test_depth_on_one_street_gets_better_by_the_video_of_another(real_data, tmp_path):
    """Against LiDAR that nothing was trained on; half the steps of adapt_drives.yaml: the pose network is random."""
    settings = {"max_steps": 30, "device": "cpu", "pose_encoder_weights": "", "optimizer.average": 0.8,
                "network.input_height": 96, "network.input_width": 320}  # fmt: skip
    config = load(TrainingConfig, CONFIGS / "adapt_drives.yaml", settings)
    weights = str(WEIGHTS / "drives.safetensors")
    truth = list(open_source(real_data / "kitti_color39"))[::6]
    result = train(config, [open_source(real_data / "kitti_odom03_gray")], tmp_path / "out", weights=weights)
    before = figures(validate(TrainingModule(config, weights).network, truth, len(truth)))
    after = figures(validate(load_network(result.weights), truth, len(truth)))
    print(before, after)
    assert after["absRel"] < before["absRel"] - 0.015
