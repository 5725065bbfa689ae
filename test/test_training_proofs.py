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
from monodvps_ros.scenes import Drive
from monodvps_ros.training.dataset import Draw, TrainingDataset, collate
from monodvps_ros.training.frames import store_frames
from monodvps_ros.training.module import TrainingModule
from monodvps_ros.training.predict import predict
from monodvps_ros.training.run import LAST_CHECKPOINT, train
from monodvps_ros.types import CameraFrame, FrameTruth, Sample

ROOT = Path(__file__).parent.parent
CONFIGS, WEIGHTS = ROOT / "config", ROOT / "monodvps_ros" / "weights"
SIZE = (64, 192)
GIVEN = {
    "network": {"encoder": "mobilenetv3_small_050", "input_height": 64, "input_width": 192, "aspp_channels": 32,
                "semantic_channels": 32, "instance_channels": 32, "flow_channels": 32},
    "pose_encoder": "mobilenetv3_small_050", "workers": 0, "device": "cpu", "validate_every": 0, "picture_every": 0,
    "center_sigma_px": 3.0, "augmentation": {"flip": 0.0, "color": 0.0},
}  # fmt: skip


def _config(**values):
    return from_dict(TrainingConfig, {**GIVEN, **values})


def _drive(seed, frames, **scene):
    return Drive(SceneConfig(frames=frames, height=SIZE[0], width=SIZE[1], rate_hz=5.0, **scene), seed)


def _batch(config, folder, source, places):
    store = store_frames([source], (config.network.input_height, config.network.input_width), folder, "")
    dataset = TrainingDataset(store, config, TrainingModule(config).objective)
    return collate([dataset[Draw(place, 0)] for place in places])


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
    config = load(TrainingConfig, CONFIGS / "self_supervised.yaml", {"max_steps": 60, "device": "cpu"})
    weights = WEIGHTS / "monodvps.safetensors"
    module = TrainingModule(config, str(weights))
    held_out = _batch(config, tmp_path / "held_out", Part(source, 130, 150), (2, 7, 12, 17))
    train(config, [Part(source, 0, 120)], tmp_path / "out", weights=str(weights))
    trained = load_module(tmp_path / "out" / LAST_CHECKPOINT)
    before, after = (_photometric(each, held_out) for each in (module, trained))
    print(f"photometric loss on held-out frames: {before:.4f} before, {after:.4f} after")
    assert after < 0.9 * before
