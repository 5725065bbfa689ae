# SPDX-License-Identifier: Apache-2.0
"""Training and teachers on a recording of a distorted camera: they look at what the node's network looks at."""

import numpy as np
import pytest
import torch
from test_training_pseudo_labels import CONFIG, Teacher

from monodvps_ros.data import open_source
from monodvps_ros.data.bag import BagWriter
from monodvps_ros.geometry.calibration import Calibration
from monodvps_ros.training.frames import store_frames
from monodvps_ros.training.pseudo_labels import PseudoLabelling, Recording

SIZE = (48, 64)
K = np.array([[50.0, 0, 31.5], [0, 52.0, 23.5], [0, 0, 1]])
P = np.array([[40.0, 0, 30, 0], [0, 41, 22, 0], [0, 0, 1, 0]])


@pytest.fixture
def bag(tmp_path):
    """Three frames of a barrel lens, bright below, with labels and depth of the distorted image."""
    given = Calibration(*SIZE, "plumb_bob", np.array([-0.3, 0.08, 0, 0, 0]), K, np.eye(3), P)
    image = np.random.default_rng(0).integers(0, 90, (*SIZE, 3), np.uint8)
    image[24:] += 150
    with BagWriter(tmp_path / "bag") as writer:
        for stamp in (10**9, 11 * 10**8, 12 * 10**8):
            writer.calibration("/cam/camera_info", stamp, "cam", given)
            writer.image("/cam/image_raw", stamp, "cam", image, "rgb8")
            writer.image("/cam/truth/panoptic", stamp, "cam", np.full(SIZE, 2000, np.uint16), "16UC1")
            writer.image("/cam/truth/depth", stamp, "cam", np.full(SIZE, 7, np.float32), "32FC1")
    return tmp_path / "bag"


def test_training_stores_rectified_images_with_their_k(bag, tmp_path):
    store = store_frames([open_source(bag)], SIZE, tmp_path / "frames", "key")
    stored, (read, *_) = store.sample(1), open_source(bag)
    np.testing.assert_array_equal(stored.frame.image, read.frame.rectified().image)
    assert (stored.frame.image != read.frame.image).any()
    np.testing.assert_array_equal(stored.frame.intrinsics, P[:, :3])
    seen = read.frame.rectification.seen
    assert not seen.all()
    np.testing.assert_array_equal(stored.truth.panoptic, np.where(seen, 2000, 65535))
    np.testing.assert_array_equal(stored.truth.depth_m, np.where(seen, 7, np.nan).astype(np.float32))


def test_a_teacher_labels_the_rectified_image_and_nothing_that_the_camera_did_not_see(bag, tmp_path):
    class Depth:
        made_with, description, is_metric = {"name": "grey"}, "grey", False

        def inverse_depth(self, sample):
            return sample.frame.image.mean(2, dtype=np.float32) / 255

    recording = Recording(bag, open_source(bag))
    list(PseudoLabelling(recording, tmp_path / "labels", Teacher(), CONFIG, torch.device("cpu"), depth_teacher=Depth()))
    (labelled, *_), (read, *_) = open_source(tmp_path / "labels"), open_source(bag)
    seen, grey = read.frame.rectification.seen, read.frame.rectified().image.mean(2)
    assert (labelled.truth.panoptic[~seen] == 65535).all() and np.isnan(labelled.truth.inverse_depth[~seen]).all()
    sure = seen & (np.abs(grey - 127.5) > 1)
    np.testing.assert_array_equal(labelled.truth.panoptic[sure] // 1000 == 13, grey[sure] > 127.5)


def test_pseudo_labels_know_whether_the_recording_was_taken_as_rectified(bag, tmp_path):
    recording = Recording(bag, open_source(bag, rectified="true"), rectified="true")
    list(PseudoLabelling(recording, tmp_path / "labels", Teacher(), CONFIG, torch.device("cpu")))
    (labelled, *_) = open_source(tmp_path / "labels")
    assert labelled.frame.rectification is None
    np.testing.assert_array_equal(labelled.frame.intrinsics, P[:, :3])
