# SPDX-License-Identifier: Apache-2.0
"""What a CameraInfo says of its image: crop, binning, P or K, distortion, and every way to be unusable."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from monodvps_ros.errors import CameraInfoError
from monodvps_ros.geometry.camera_model import camera_model, is_rectified_by_name
from monodvps_ros.geometry.undistortion import rectifying_map
from monodvps_ros.perception.rectification import Rectification

K = [500.0, 0, 320, 0, 510, 240, 0, 0, 1]
P = [450.0, 0, 310, 0, 0, 460, 235, 0, 0, 0, 1, 0]
DISTORTED = [-0.3, 0.1, 0.001, -0.002, 0.0]


def info(**changes):
    values = {
        "height": 480,
        "width": 640,
        "distortion_model": "plumb_bob",
        "d": [0.0] * 5,
        "k": K,
        "r": [1.0, 0, 0, 0, 1, 0, 0, 0, 1],
        "p": P,
        "binning_x": 0,
        "binning_y": 0,
        "roi": SimpleNamespace(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    }
    return SimpleNamespace(**{**values, **changes})


def matrix(fx, cx, fy, cy):
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], float)


def test_a_rectified_image_takes_p():
    model = camera_model(info(), (480, 640), rectified=True)
    np.testing.assert_array_equal(model.intrinsics, matrix(450, 310, 460, 235))
    assert model.distortion is None


def test_a_rectified_image_takes_k_where_p_is_not_set():
    model = camera_model(info(p=[0.0] * 12), (480, 640), rectified=True)
    np.testing.assert_array_equal(model.intrinsics, matrix(500, 320, 510, 240))


@pytest.mark.parametrize("rectified", [None, False])
def test_a_raw_image_without_distortion_takes_k(rectified):
    model = camera_model(info(), (480, 640), rectified)
    np.testing.assert_array_equal(model.intrinsics, matrix(500, 320, 510, 240))
    assert model.distortion is None


@pytest.mark.parametrize("rectified", [None, False])
def test_a_raw_image_is_to_be_rectified_to_p(rectified):
    model = camera_model(info(d=DISTORTED), (480, 640), rectified)
    np.testing.assert_array_equal(model.intrinsics, matrix(450, 310, 460, 235))
    assert model.distortion is not None
    assert model.distortion.model == "plumb_bob"
    np.testing.assert_array_equal(model.distortion.coefficients, DISTORTED)
    np.testing.assert_array_equal(model.distortion.raw_intrinsics, matrix(500, 320, 510, 240))
    np.testing.assert_array_equal(model.distortion.rotation, np.eye(3))


def test_a_rectified_image_keeps_its_distortion_coefficients_out_of_it():
    assert camera_model(info(d=DISTORTED), (480, 640), rectified=True).distortion is None


def test_crop_then_binning():
    roi = SimpleNamespace(x_offset=100, y_offset=40, height=400, width=200, do_rectify=False)
    model = camera_model(info(roi=roi, binning_x=2, binning_y=4), (100, 100), rectified=True)
    # cx: (310 - 100 + 0.5) / 2 - 0.5; cy: (235 - 40 + 0.5) / 4 - 0.5
    np.testing.assert_allclose(model.intrinsics, matrix(225, 104.75, 115, 48.375))


def test_binning_keeps_a_point_on_its_pixel():
    """Pixels 2 and 3 of the sensor are pixel 1 of the image; a ray between them must fall on its centre."""
    model = camera_model(info(binning_x=2, binning_y=2), (240, 320), rectified=True)
    ray = (2.5 - 310) / 450
    assert model.intrinsics[0, 0] * ray + model.intrinsics[0, 2] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"k": [0.0] * 9}, "not calibrated"),
        ({"k": [500.0, 0, 320, 0, 0, 240, 0, 0, 1]}, "not calibrated"),
        ({"k": [float("nan")] * 9}, "K that is not finite"),
        ({"k": [float("inf"), 0, 320, 0, 510, 240, 0, 0, 1]}, "K that is not finite"),
        ({"p": [450.0, 0, float("nan"), 0, 0, 460, 235, 0, 0, 0, 1, 0]}, "P that is not finite"),
        ({"height": 240, "width": 320}, "for an image of 320x240 but the image is 640x480"),
        ({"d": DISTORTED, "distortion_model": "thin_prism"}, "distortion model 'thin_prism'"),
        ({"d": [0.1] * 6}, "6 coefficients for 'plumb_bob'"),
        ({"d": [float("nan")] * 5}, "finite"),
        ({"d": [0.1] * 5, "distortion_model": "equidistant"}, "it must have 4"),
    ],
)
def test_an_unusable_camera_is_refused_with_its_reason(changes, words):
    with pytest.raises(CameraInfoError, match=words):
        camera_model(info(**changes), (480, 640), rectified=None)


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        ("plumb_bob", DISTORTED),
        ("rational_polynomial", [-0.3, 0.1, 0.001, -0.002, 0.01, 0.02, -0.01, 0.005]),
        ("equidistant", [-0.05, 0.01, -0.003, 0.001]),
    ],
)
def test_rectification_brings_a_point_to_where_k_says(model, coefficients):
    """A blob drawn where the lens puts a 3-D point ends up where the pinhole camera puts it."""
    point = np.array([[0.25, -0.2, 1.0]])
    raw = matrix(500, 320, 510, 240)
    project = cv2.fisheye.projectPoints if model == "equidistant" else cv2.projectPoints
    argument = point[None] if model == "equidistant" else point
    bent = project(argument, np.zeros(3), np.zeros(3), raw, np.array(coefficients))[0].ravel()
    rows, columns = np.mgrid[0:480, 0:640]
    blob = 255 * np.exp(-((columns - bent[0]) ** 2 + (rows - bent[1]) ** 2) / (2 * 3.0**2))
    image = np.repeat(blob.astype(np.uint8)[..., None], 3, axis=2)

    camera = camera_model(info(d=coefficients, distortion_model=model), (480, 640), rectified=False)
    rectification = Rectification(rectifying_map(camera, (480, 640)), torch.device("cpu"))
    seen = rectification.apply(torch.from_numpy(image))[..., 0].double().numpy()

    straight = camera.intrinsics @ point[0]
    assert (seen * columns).sum() / seen.sum() == pytest.approx(straight[0], abs=0.15)
    assert (seen * rows).sum() / seen.sum() == pytest.approx(straight[1], abs=0.15)


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("/image_rect", True),
        ("/cam/image_rect_color", True),
        ("/cam/rect/image", True),
        ("/rectified/image", True),
        ("/cam/image_rectified", True),
        ("/cam/image_raw", False),
        ("/direct/image_raw", False),
        ("/cam/rectangle", False),
        ("/corrected/image", False),
    ],
)
def test_names_of_rectified_images(topic, expected):
    assert is_rectified_by_name(topic) is expected
