# SPDX-License-Identifier: Apache-2.0
"""The camera of a recording or a folder: K, distortion and truth as the live node has them; pairing within bounds."""

import json
import logging
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from monodvps_ros.data import open_source
from monodvps_ros.data.bag import BagWriter
from monodvps_ros.data.bag.pairing import MOST_WAITING, BagPairing
from monodvps_ros.data.bag.topics import CameraTopics
from monodvps_ros.errors import DataError
from monodvps_ros.geometry.calibration import Calibration
from monodvps_ros.geometry.camera_model import CameraReader

SIZE = (48, 64)
K = np.array([[50.0, 0, 31.5], [0, 52.0, 23.5], [0, 0, 1]])
P = np.array([[40.0, 0, 30, 0], [0, 41, 22, 0], [0, 0, 1, 0]])
BARREL = (-0.3, 0.08, 0.001, -0.002, 0.0)
START, STEP = 1_700_000_000_000_000_000, 100_000_000


def calibration(d=BARREL, model="plumb_bob", k=K, p=P, size=SIZE, **more):
    return Calibration(*size, model, np.array(d, float), np.array(k, float), np.eye(3), np.array(p, float), **more)


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)


def write(path, given, topic="image_raw", count=2, truth=False, info_stamp=lambda stamp: stamp):
    with BagWriter(path) as writer:
        for index in range(count):
            stamp = START + index * STEP
            writer.calibration("/cam/camera_info", info_stamp(stamp), "cam", given)
            writer.image(f"/cam/{topic}", stamp, "cam", picture(index), "rgb8")
            if truth:
                ids = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % 19 * 1000
                writer.image("/cam/truth/panoptic", stamp, "cam", ids.astype(np.uint16), "16UC1")
                writer.image("/cam/truth/depth", stamp, "cam", (ids / 1000 + 1).astype(np.float32), "32FC1")
                writer.image("/cam/truth/flow", stamp, "cam", np.zeros((*SIZE, 2), np.float32), "32FC2")
    return path


@pytest.mark.parametrize(
    ("topic", "d", "rectified", "focal", "bent"),
    [
        ("image_raw", BARREL, "auto", 40, True),
        ("image_raw", BARREL, "false", 40, True),
        ("image_raw", BARREL, "true", 40, False),
        ("image_raw", (), "auto", 50, False),
        ("image_raw", (), "false", 50, False),
        ("image_raw", (), "true", 40, False),
        ("image_rect", BARREL, "auto", 40, False),
        ("image_rect", BARREL, "false", 40, True),
        ("image_rect_color", BARREL, "auto", 40, False),
        ("image_rect", (), "auto", 40, False),
        ("rect/image", BARREL, "auto", 40, False),
        ("rect/image", (), "auto", 40, False),
        ("image_rectified", BARREL, "auto", 40, False),
        ("rectangle", BARREL, "auto", 40, True),
    ],
)
def test_a_recording_s_camera_is_the_live_one(tmp_path, topic, d, rectified, focal, bent):
    """The K and the map are those of what the node reads: `CameraReader` with the topic's name."""
    with BagWriter(tmp_path / "bag") as writer:
        image_topic = f"/cam/{topic}"
        writer.calibration(f"{image_topic.rpartition('/')[0]}/camera_info", START, "cam", calibration(d))
        writer.image(image_topic, START, "cam", picture(), "rgb8")
    (sample,) = open_source(tmp_path / "bag", rectified=rectified)
    live = CameraReader(rectified, image_topic).read(calibration(d), SIZE)
    np.testing.assert_array_equal(sample.frame.intrinsics, live.intrinsics)
    np.testing.assert_array_equal(sample.frame.image, picture())
    assert sample.frame.intrinsics[0, 0] == focal
    assert (sample.frame.rectification is not None) == (live.rectification is not None) == bent
    if bent:
        np.testing.assert_array_equal(sample.frame.rectification.pixels, live.rectification.pixels)


def test_truth_goes_where_the_image_goes(tmp_path, caplog):
    """Labels and depth against OpenCV's own nearest remap of OpenCV's own map."""
    with caplog.at_level(logging.WARNING):
        (sample, _) = open_source(write(tmp_path / "bag", calibration(), truth=True))
    maps = cv2.initUndistortRectifyMap(K, np.array(BARREL), np.eye(3), P[:, :3], SIZE[::-1], cv2.CV_32FC1)
    ids = (np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % 19 * 1000).astype(np.uint16)
    expected = cv2.remap(ids, *maps, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=65535)
    assert (expected == 65535).any() and (sample.truth.panoptic == expected).mean() > 0.99  # halves may round otherwise
    seen = sample.truth.panoptic != 65535
    np.testing.assert_array_equal(sample.truth.depth_m[seen], sample.truth.panoptic[seen] / 1000 + 1)
    assert np.isnan(sample.truth.depth_m[~seen]).all()
    assert sample.truth.flow_px is None and "flow is of the distorted image and is left out" in caplog.text
    straight = cv2.remap(picture(), *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    again = sample.frame.rectified()
    assert np.abs(again.image.astype(int) - straight).max() <= 8 and again.rectification is None
    assert again.rectified() is again


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"k": np.full((3, 3), np.nan), "p": np.zeros((3, 4))}, "K is not finite"),
        ({"k": np.zeros((3, 3)), "p": np.zeros((3, 4))}, "K is not calibrated"),
        ({"k": K.T, "p": np.zeros((3, 4))}, "K is transposed"),
        ({"size": (10, 16)}, "for an image of 16x10 but the image is 64x48"),
        ({"model": "thin_prism"}, "'thin_prism' is not known; known are plumb_bob, rational_polynomial, equidistant"),
    ],
)
def test_an_unusable_camera_info_leaves_the_images(tmp_path, caplog, changes, words):
    given = calibration(**changes)
    source = open_source(write(tmp_path / "bag", given, count=3))
    with caplog.at_level(logging.WARNING):
        samples = list(source)
    assert [sample.frame.intrinsics for sample in samples] == [None] * 3
    assert samples[0].frame.calibration.content() == given.content()
    assert caplog.text.count(words) == 1


def test_width_0_takes_the_image_s_size(tmp_path):
    (sample, _) = open_source(write(tmp_path / "bag", calibration(d=(), size=(0, 0))))
    np.testing.assert_array_equal(sample.frame.intrinsics, K)


def test_a_folder_s_camera_may_have_distortion(tmp_path):
    cv2.imwrite(str(tmp_path / "0.png"), picture()[..., ::-1])
    camera = {"width": 64, "height": 48, "rate_hz": 10, "K": K.ravel().tolist()}
    fisheye = {"distortion_model": "fisheye", "d": [0.1, -0.02, 0.001, 0]}
    (tmp_path / "camera.json").write_text(json.dumps({**camera, **fisheye}))
    (sample,) = open_source(tmp_path)
    given = Calibration.of_pinhole(K, SIZE, "fisheye", fisheye["d"])
    assert sample.frame.calibration.content() == given.content()
    live = CameraReader().read(given, SIZE)
    np.testing.assert_array_equal(sample.frame.rectification.pixels, live.rectification.pixels)
    (sample,) = open_source(tmp_path, rectified="true")
    assert sample.frame.rectification is None
    for change, words in (
        ({"d": [0.1]}, "'equidistant' has 1 coefficient: "),
        ({"d": "no"}, "'d' is 'no'; expected finite numbers"),
        ({"distortion_model": "odd"}, "distortion model 'odd' is not known"),
        ({"K": K.T.ravel().tolist()}, "K is transposed"),
        ({"K": None}, "has 'd' but no 'K'"),
    ):
        (tmp_path / "camera.json").write_text(json.dumps({**camera, **fisheye, **change}))
        with pytest.raises(DataError, match=words):
            open_source(tmp_path)


def test_a_video_has_no_camera_to_rectify(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(DataError, match=r"rectified \(true\) does not apply"):
        open_source(tmp_path / "a.mp4", rectified="true")


class Stream:
    """A recording as `BagPairing` reads it, which notes how far it was read."""

    def __init__(self, messages):
        self._messages = messages
        names = [topic for topic, _ in messages]
        self.topics = {name: SimpleNamespace(count=names.count(name)) for name in names}
        self.images_read = 0

    def messages(self, _):
        for topic, message in self._messages:
            self.images_read += topic == "/image"
            yield topic, "", 0, message


def stamped(stamp, **more):
    time = SimpleNamespace(sec=stamp // 10**9, nanosec=stamp % 10**9)
    return SimpleNamespace(header=SimpleNamespace(stamp=time, frame_id="cam"), **more)


@pytest.mark.parametrize("info_stamp", [lambda _: 0, lambda s: s - 10**18, lambda s: s + 10**15])
def test_a_stream_of_another_clock_makes_no_more_than_a_few_images_wait(info_stamp):
    messages = []
    for index in range(10 * MOST_WAITING):
        stamp = START + index * STEP
        messages += [("/info", stamped(info_stamp(stamp))), ("/image", stamped(stamp))]
        messages.append(("/depth", stamped(info_stamp(stamp))))
    stream = Stream(messages)
    pairing = BagPairing(stream, CameraTopics("/image", False, "/info", {"depth_m": "/depth"}))
    given = 0
    for _, partners in pairing:
        given += 1
        assert partners["camera_info"] is not None
        assert stream.images_read - given <= MOST_WAITING
        assert len(pairing._held["depth_m"]) <= MOST_WAITING + 1
    assert given == 10 * MOST_WAITING == pairing.other_infos
    assert pairing.unpaired == {"depth_m": given}


def test_sparse_poses_make_no_more_than_a_few_images_wait():
    messages = [("/tf", SimpleNamespace(transforms=[]))]
    messages += [("/image", stamped(START + index * STEP)) for index in range(5 * MOST_WAITING)]
    stream = Stream([*messages, ("/tf", SimpleNamespace(transforms=[]))])
    given = 0
    for _ in BagPairing(stream, CameraTopics("/image", False, None, has_tf=True)):
        given += 1
        assert stream.images_read - given <= MOST_WAITING
    assert given == 5 * MOST_WAITING


def test_a_camera_info_that_comes_once_and_late_is_that_of_all_images(tmp_path):
    """As of a latched topic that the recorder found late."""
    info, frames = calibration(d=()), 3 * MOST_WAITING
    with BagWriter(tmp_path / "bag") as writer:
        for index in range(frames):
            at = START + index * STEP
            writer.image("/cam/image_raw", at, "cam", np.zeros((*SIZE, 3), np.uint8), "rgb8")
            if index == 2 * MOST_WAITING:
                writer.calibration("/cam/camera_info", at, "cam", info)
    samples = list(open_source(tmp_path / "bag"))
    assert len(samples) == frames
    assert all(np.array_equal(sample.frame.intrinsics, K) for sample in samples)


def test_that_no_camera_info_has_the_stamp_is_told_once(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        samples = list(open_source(write(tmp_path / "bag", calibration(d=()), count=4, info_stamp=lambda _: 5)))
    np.testing.assert_array_equal(samples[3].frame.intrinsics, K)
    assert caplog.text.count("4 images have no camera_info of their stamp") == 1
