# SPDX-License-Identifier: Apache-2.0
"""How well the ego motion that a run has learnt agrees with the true one.

    python test/ego_motion_bench.py CHECKPOINT RECORDING

The recording has true poses: a folder of images with poses.txt, a synthetic bag. Translations are learnt up to one
common factor, which a correlation does not see.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from monodvps_ros.config import TrainingConfig, from_dict
from monodvps_ros.data import open_source
from monodvps_ros.data.transforms import apply_geometry, fit_geometry
from monodvps_ros.training.checkpoints import CONFIG_KEY, read_checkpoint
from monodvps_ros.training.module import TrainingModule


def load_module(checkpoint):
    config = from_dict(TrainingConfig, read_checkpoint(checkpoint)[CONFIG_KEY])
    return TrainingModule(config, str(checkpoint)).eval()


def true_motion(before, after):
    """Return axis-angle rotation and translation that carry points of one camera into the next one."""
    motion = np.linalg.inv(after.truth.world_from_camera) @ before.truth.world_from_camera
    turn = motion[:3, :3]
    sine = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / 2
    length = np.linalg.norm(sine)
    angle = np.arctan2(length, (np.trace(turn) - 1) / 2)
    return sine * (angle / length if length > 0 else 0.0), motion[:3, 3]


def compare_motions(pose_network, samples, size):
    """Find the motion of each pair of frames that follow each other.

    Returns:
        Found and true motions, each (pairs, 6): axis-angle, translation.
    """
    found, true = [], []
    before = image_before = None
    for sample in samples:
        pixels = apply_geometry(sample, fit_geometry(size)).frame.image
        image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
        if before is not None and before.sequence == sample.sequence:
            with torch.no_grad():
                rotation, translation = pose_network(image_before, image)
            found.append(torch.cat([rotation, translation], 1)[0].numpy())
            true.append(np.concatenate(true_motion(before, sample)))
        before, image_before = sample, image
    return np.array(found), np.array(true)


def correlations(found, true):
    """Correlate the magnitudes of translations, and the turns about the vertical axis."""
    lengths = [np.linalg.norm(motions[:, 3:], axis=1) for motions in (found, true)]
    return {
        "translation": float(np.corrcoef(*lengths)[0, 1]),
        "yaw": float(np.corrcoef(found[:, 1], true[:, 1])[0, 1]),
    }


if __name__ == "__main__":
    module = load_module(Path(sys.argv[1]))
    for name, value in correlations(
        *compare_motions(module.pose_network, open_source(Path(sys.argv[2])), module.network.input_size)
    ).items():
        print(f"{name}: {value:.3f}")
