# SPDX-License-Identifier: Apache-2.0
"""Ego motion trained with frozen metric depth: what is trained, and that it comes out in metres."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ego_motion_bench import compare_motions
from test_training_proofs import Part, _batch

from monodvps_ros.config import SceneConfig, TrainingConfig, load
from monodvps_ros.geometry import motion_of_camera
from monodvps_ros.network import load_network, load_pose_network, read_card
from monodvps_ros.scenes import Drive
from monodvps_ros.training.module import TrainingModule
from monodvps_ros.training.run import train

CONFIG = Path(__file__).parent.parent / "config" / "shipped" / "street_8_motion.yaml"
SETTINGS = {
    "network.input_height": 96,
    "network.input_width": 320,
    "loss.flow": 0.0,
    "partial_start": False,
    "workers": 0,
    "augmentation.color": 0.0,
}


def _config(**settings):
    return load(TrainingConfig, CONFIG, SETTINGS | settings)


def _photometric(module, batch):
    """Measure the loss as training does, with the statistics of the batch."""
    with torch.no_grad():
        return module.losses(batch)["photometric"].item()


def test_flow_and_motion_alone_are_trained():
    module = TrainingModule(load(TrainingConfig, CONFIG))
    assert module.trained == {"flow", "pose"}
    assert set(module.objective.active_terms) == {"photometric", "flow"}
    trained = {name.split(".")[0] for name, weight in module.network.named_parameters() if weight.requires_grad}
    assert trained == {"flow_decoder"}
    assert module.pose_network.metric and module.objective.canonical_focal_px == 384.0


@pytest.mark.slow
def test_motion_is_learnt_in_metres(tmp_path):
    canonical_px = load_network("street").canonical_focal_px
    scene = SceneConfig(frames=44, height=96, width=320, rate_hz=10.0, traffic=0.0)
    drive, frames = Drive(scene, 4), tmp_path / "frames"
    settings = {"network.canonical_focal_px": canonical_px, "optimizer.pose_learning_rate": 2.0e-3}
    config = _config(max_steps=60, batch_size=2, **settings)
    held_out = Part(drive, 32, 44)
    batch = _batch(config, tmp_path / "held_out", held_out, (1, 4, 7))
    before = _photometric(TrainingModule(config, "street"), batch)
    result = train(config, [Part(drive, 0, 32)], tmp_path / "out", weights="street", frames=frames)
    after = _photometric(TrainingModule(config, str(result.weights)), batch)
    pose_network, size = load_pose_network(result.weights), read_card(result.weights)["input_size"]
    assert pose_network is not None
    intrinsics = next(iter(drive)).frame.intrinsics  # of images of the network's size

    def in_metres(first, second):
        return motion_of_camera(*pose_network(first, second), torch.tensor(intrinsics)[None].float(), canonical_px)

    found, true = compare_motions(in_metres, held_out, tuple(size))
    ahead = np.median(found[:, 5]) / np.median(true[:, 5])
    print(f"photometric {before:.4f} before, {after:.4f} after; step {ahead:.2f} of the true one")
    assert after < 0.8 * before
    assert 0.5 < ahead < 2.0  # up to scale it would be a tenth
    shipped = load_network("street", for_inference=False).state_dict()
    trained = load_network(result.weights, for_inference=False).state_dict()
    assert all(torch.equal(trained[name], value) for name, value in shipped.items())
