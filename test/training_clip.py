# SPDX-License-Identifier: Apache-2.0
"""A clip of images with truth, and a network and a config small enough to train on it within a test."""

import json

import cv2
import numpy as np
from tiny import ENCODER, TINY

from monodvps_ros.config import TrainingConfig, from_dict
from monodvps_ros.errors import DataError
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.losses import Objective
from monodvps_ros.training.dataset import TrainingDataset
from monodvps_ros.training.frames import store_frames
from monodvps_ros.types import CameraFrame, FrameTruth, Sample

SIZE = (64, 96)
K = np.array([[60.0, 0, 47.5], [0, 60.0, 31.5], [0, 0, 1]])


class Clip:
    """A camera that drives towards a textured wall with a box in front of it."""

    label_space = CITYSCAPES
    rate_hz = 10.0

    def __init__(self, frames=5, seed=0, broken=(), gap_after=None):
        self.frames, self.broken, self.gap_after = frames, broken, gap_after
        generator = np.random.default_rng(seed)
        self.texture = np.kron(generator.integers(0, 255, (20, 30, 3)), np.ones((8, 8, 1))).astype(np.uint8)

    def __len__(self):
        return self.frames

    def __iter__(self):
        return Clip.Reading(self)

    class Reading:
        def __init__(self, clip):
            self.clip, self.place = clip, -1

        def __next__(self):
            self.place += 1
            if self.place >= self.clip.frames:
                raise StopIteration
            if self.place in self.clip.broken:
                raise DataError(f"frame {self.place} is damaged")
            return self.clip.sample(self.place)

        def __iter__(self):
            return self

    def sample(self, place):
        image = self.texture[: SIZE[0], 2 * place : 2 * place + SIZE[1]]
        panoptic = np.full(SIZE, 2000, np.uint16)
        panoptic[20:50, 30 - 2 * place : 60 - 2 * place] = 13001
        depth = np.where(panoptic == 2000, 20.0, 8.0).astype(np.float32)
        late = 5 if self.gap_after is not None and place > self.gap_after else 0
        stamp = round((place + late) * 1e8)
        return Sample(CameraFrame(image, stamp, "camera", K), FrameTruth(panoptic, depth), "drive", place, "clip")


def make_config(**values):
    given = {
        "network": TINY,
        "pose_encoder": ENCODER,
        "workers": 0,
        "device": "cpu",
        "batch_size": 2,
        "max_steps": 4,
        "checkpoint_every": 2,
        "validate_every": 0,
        "center_sigma_px": 55.0,
    }
    return from_dict(TrainingConfig, {**given, **values})


def make_objective(config):
    return Objective(config.loss, CITYSCAPES)


def make_dataset(tmp_path, config, clip=None):
    return TrainingDataset(
        store_frames([clip or Clip()], SIZE, tmp_path / "frames", ""), config, make_objective(config)
    )


def write_clip(folder, frames):
    """Write the clip as a folder of images, without its truth."""
    folder.mkdir()
    clip = Clip(frames)
    for place in range(frames):
        cv2.imwrite(str(folder / f"{place:06d}.png"), clip.sample(place).frame.image[..., ::-1])
    camera = {"width": SIZE[1], "height": SIZE[0], "rate_hz": 10.0, "K": K.flatten().tolist()}
    (folder / "camera.json").write_text(json.dumps(camera))
