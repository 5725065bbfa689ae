# SPDX-License-Identifier: Apache-2.0
"""What a CameraInfo says of its image: crop, binning, P or K, distortion, and every way to be unusable."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from monodvps_ros.errors import CameraInfoError
from monodvps_ros.geometry.calibration import Calibration, check_intrinsics
from monodvps_ros.geometry.camera_model import CameraReader, camera_model, is_rectified_by_name
from monodvps_ros.geometry.rectification import Distortion, Rectification

K = [500.0, 0, 320, 0, 510, 240, 0, 0, 1]
P = [450.0, 0, 310, 0, 0, 460, 235, 0, 0, 0, 1, 0]
DISTORTED = [-0.3, 0.1, 0.001, -0.002, 0.0]
TRANSPOSED = [500.0, 0, 0, 0, 510, 0, 320, 240, 1]
IDENTITY = [1.0, 0, 0, 0, 1, 0, 0, 0, 1]
NAN = float("nan")


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
    return Calibration.from_message(SimpleNamespace(**{**values, **changes}))


def matrix(fx, cx, fy, cy):
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], float)


def test_a_rectified_image_takes_p():
    model = camera_model(info(), (480, 640), rectified=True)
    np.testing.assert_array_equal(model.intrinsics, matrix(450, 310, 460, 235))
    assert model.rectification is None


def test_a_rectified_image_takes_k_where_p_is_not_set():
    model = camera_model(info(p=[0.0] * 12), (480, 640), rectified=True)
    np.testing.assert_array_equal(model.intrinsics, matrix(500, 320, 510, 240))


@pytest.mark.parametrize("rectified", [None, False])
def test_a_raw_image_without_distortion_takes_k(rectified):
    model = camera_model(info(), (480, 640), rectified)
    np.testing.assert_array_equal(model.intrinsics, matrix(500, 320, 510, 240))
    assert model.rectification is None


@pytest.mark.parametrize("rectified", [None, False])
def test_a_raw_image_is_to_be_rectified_to_p(rectified):
    model = camera_model(info(d=DISTORTED), (480, 640), rectified)
    np.testing.assert_array_equal(model.intrinsics, matrix(450, 310, 460, 235))
    assert model.rectification is not None
    assert model.rectification.distortion.model == "plumb_bob"
    np.testing.assert_array_equal(model.rectification.distortion.coefficients, DISTORTED)
    np.testing.assert_array_equal(model.rectification.distortion.raw_intrinsics, matrix(500, 320, 510, 240))
    np.testing.assert_array_equal(model.rectification.distortion.rotation, np.eye(3))


def test_a_rectified_image_keeps_its_distortion_coefficients_out_of_it():
    assert camera_model(info(d=DISTORTED), (480, 640), rectified=True).rectification is None


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
        ({"k": [0.0] * 9, "p": [0.0] * 12}, "not calibrated"),
        ({"k": [500.0, 0, 320, 0, 0, 240, 0, 0, 1], "p": [0.0] * 12}, "not calibrated"),
        ({"k": [NAN] * 9, "p": [0.0] * 12}, "K is not finite"),
        ({"k": [float("inf"), 0, 320, 0, 510, 240, 0, 0, 1], "p": [0.0] * 12}, "K is not finite"),
        ({"k": TRANSPOSED, "p": [0.0] * 12}, "K is transposed"),
        ({"k": IDENTITY, "p": [0.0] * 12}, "K is not calibrated: it is the identity"),
        ({"k": IDENTITY, "d": DISTORTED}, "K is not calibrated: it is the identity"),
        ({"k": [0.78, 0, 0.5, 0, 1.06, 0.5, 0, 0, 1], "p": [0.0] * 12}, "not in pixels: .* 0.78 and 1.06 .* 640x480"),
        ({"k": [500.0, 0, 320, 0, -510, 240, 0, 0, 1], "p": [0.0] * 12}, "K is of no camera: expected focal lengths"),
        ({"k": [500.0, 0, 320, 0, 510, 600, 0, 0, 1], "p": [0.0] * 12}, r"principal point \(320, 600\) lies outside"),
        ({"k": [500.0, 0, 320, 0, 510, 240, 0, 0, 2], "p": [0.0] * 12}, "K is not a pinhole matrix"),
        ({"d": DISTORTED, "r": [2.0, 0, 0, 0, 1, 0, 0, 0, 1]}, "R is not a rotation"),
        ({"height": 240, "width": 320}, "for an image of 320x240 but the image is 640x480"),
        ({"d": DISTORTED, "distortion_model": "thin_prism"}, "distortion model 'thin_prism'"),
        ({"d": [0.1] * 6}, "'plumb_bob' has 6 coefficients"),
        ({"d": [0.1] * 1000}, r"^'plumb_bob' has 1000 coefficients: .{,201}; it must have 4 or 5 finite ones$"),
        ({"d": DISTORTED, "r": [-1e100 / 3] * 9}, r"^R is not a rotation: .{,200}$"),
        (
            {"k": [-1e300 / 3] * 9, "p": [0.0] * 12},
            "^K is of no camera: expected focal lengths above 0; it is .{,200}$",
        ),
        ({"k": [4.2, 0, 320, 0, 4.2, 240, 0, 0, 1], "p": [0.0] * 12}, "K is not in pixels: focal lengths of 4.2"),
        ({"k": [1e6, 0, 320, 0, 1e6, 240, 0, 0, 1], "p": [0.0] * 12}, r"K is not in pixels: focal lengths of 1e\+06"),
        (
            {"roi": SimpleNamespace(x_offset=8, y_offset=6, height=480, width=640, do_rectify=False)},
            r"region of interest of 640x480 at \(8, 6\) reaches beyond the image of 640x480",
        ),
        ({"d": [float("nan")] * 5}, "finite"),
        ({"d": [0.1] * 5, "distortion_model": "equidistant"}, "it must have 4"),
        ({"d": DISTORTED, "distortion_model": "none"}, "distortion model 'none' is not known; known are plumb_bob"),
    ],
)
def test_an_unusable_camera_is_refused_with_its_reason(changes, words):
    with pytest.raises(CameraInfoError, match=words):
        camera_model(info(**changes), (480, 640), rectified=None)


@pytest.mark.parametrize("k", [IDENTITY, [0.0] * 9, [NAN] * 9, TRANSPOSED])
@pytest.mark.parametrize("rectified", [None, False, True])
def test_p_is_taken_where_only_p_is_usable(k, rectified):
    model = camera_model(info(k=k), (480, 640), rectified)
    np.testing.assert_array_equal(model.intrinsics, matrix(450, 310, 460, 235))
    assert model.rectification is None


NO_P = [[450.0, 0, NAN, 0, 0, 460, 235, 0, 0, 0, 1, 0], [1.0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]]


@pytest.mark.parametrize("p", NO_P)
@pytest.mark.parametrize(
    ("rectified", "d"), [(None, []), (False, []), (True, []), (None, DISTORTED), (False, DISTORTED)]
)
def test_k_is_taken_where_only_k_is_usable(p, rectified, d):
    model = camera_model(info(p=p, d=d), (480, 640), rectified)
    np.testing.assert_array_equal(model.intrinsics, matrix(500, 320, 510, 240))
    assert (model.rectification is None) == (not d)


@pytest.mark.parametrize(("p", "words"), zip(NO_P, ["P is not finite", "P is not calibrated"], strict=True))
def test_k_of_the_raw_image_is_none_of_a_rectified_one(p, words):
    with pytest.raises(CameraInfoError, match=words):
        camera_model(info(p=p, d=DISTORTED), (480, 640), rectified=True)


def test_a_rectified_image_beside_k_and_d_of_the_raw_camera_is_doubted(caplog):
    """As kitti2bag writes image_02 of raw_sync: 1242 x 375 rectified pictures, K and D of the camera of 1392 x 512."""
    given = info(k=[959.8, 0, 696.0, 0, 956.9, 224.2, 0, 0, 1], d=[-0.37, 0.2, 0.001, 0.0002, -0.07],
                 p=[721.5, 0, 609.6, 0, 0, 721.5, 172.9, 0, 0, 0, 1, 0], width=1242, height=375)  # fmt: skip
    model = CameraReader("auto", "/cam/image").read(given, (375, 1242))
    assert "31 % of the image without distortion lie outside" in model.doubt and model.doubt in model.treatment
    assert "set rectified to 'true'" in caplog.text
    said = CameraReader("true", "/cam/image").read(given, (375, 1242))
    np.testing.assert_array_equal(said.intrinsics, matrix(721.5, 609.6, 721.5, 172.9))
    assert said.rectification is None and said.doubt == CameraReader("false").read(given, (375, 1242)).doubt == ""
    assert not camera_model(info(d=DISTORTED), (480, 640), None).doubt


def test_without_width_and_height_the_image_s_size_is_taken():
    model = camera_model(info(width=0, height=0), (480, 640), None)
    np.testing.assert_array_equal(model.intrinsics, matrix(500, 320, 510, 240))
    binned = camera_model(info(width=0, height=0, binning_x=2, binning_y=2), (240, 320), None)
    np.testing.assert_array_equal(binned.intrinsics, matrix(250, 159.75, 255, 119.75))
    with pytest.raises(CameraInfoError, match="outside the image of 160x120"):
        camera_model(info(width=0, height=0), (120, 160), None)


def test_k_of_an_image_of_another_size_is_doubted(caplog):
    """Of half the size; twice the size is refused: its principal point lies outside."""
    given = info(k=[250.0, 0, 159.75, 0, 255, 119.75, 0, 0, 1], p=[0.0] * 12)
    model = CameraReader("auto", "/cam/image").read(given, (480, 640))
    np.testing.assert_array_equal(model.intrinsics, matrix(250, 159.75, 255, 119.75))
    words = "(160, 120) is far from the middle of the image of 640x480: is this the K of an image of another size?"
    assert words in model.doubt and words in model.treatment and words in caplog.text
    assert words in CameraReader("true").read(given, (480, 640)).doubt
    assert not camera_model(info(), (480, 640), None).doubt and not camera_model(info(), (480, 640), True).doubt
    corner = SimpleNamespace(x_offset=400, y_offset=0, height=480, width=240, do_rectify=False)
    assert not camera_model(info(roi=corner), (480, 240), None).doubt


def test_a_region_may_leave_the_principal_point_out():
    roi = SimpleNamespace(x_offset=400, y_offset=0, height=480, width=240, do_rectify=False)
    model = camera_model(info(roi=roi), (480, 240), None)
    np.testing.assert_array_equal(model.intrinsics, matrix(500, -80, 510, 240))
    check_intrinsics(model.intrinsics)


@pytest.mark.parametrize(
    ("model", "given", "name", "used"),
    [
        ("equidistant", [0.1, 0.01, 0, 0, 0], "equidistant", [0.1, 0.01, 0, 0]),
        ("fisheye", [0.1, 0.01, 0, 0], "equidistant", [0.1, 0.01, 0, 0]),
        ("plumb_bob", [*DISTORTED, 0, 0, 0], "plumb_bob", DISTORTED),
        ("rational_polynomial", DISTORTED, "rational_polynomial", DISTORTED),
        ("plumb_bob", [0.1] * 8, "rational_polynomial", [0.1] * 8),
        ("plumb_bob", [*[0.1] * 12, 0, 0], "rational_polynomial", [*[0.1] * 12, 0, 0]),
    ],
)
def test_trailing_zeros_and_other_names_of_a_model(model, given, name, used):
    distortion = camera_model(info(d=given, distortion_model=model), (480, 640), None).rectification.distortion
    assert distortion.model == name
    np.testing.assert_array_equal(distortion.coefficients, used)


def test_zeros_are_no_distortion_but_a_fisheye_s_where_the_image_is_said_to_be_raw():
    for model in ("none", "", "plumb_bob", "equidistant"):
        assert camera_model(info(distortion_model=model), (480, 640), None).rectification is None
    for zeros in ([], [0.0] * 4):
        distortion = camera_model(
            info(d=zeros, distortion_model="equidistant"), (480, 640), False
        ).rectification.distortion
        np.testing.assert_array_equal(distortion.coefficients, [0, 0, 0, 0])


class TestCameraReader:
    def test_what_follows_from_a_camera_info_is_made_once(self):
        reader = CameraReader()
        first = reader.read(info(d=DISTORTED), (480, 640))
        assert reader.read(info(d=DISTORTED), (480, 640)) is first
        assert first.rectification.size == (480, 640) and first.treatment == "plumb_bob is removed"
        assert reader.read(info(d=[-0.2, 0, 0, 0, 0]), (480, 640)) is not first

    def test_an_unusable_one_is_told_and_still_there_to_be_published(self):
        given = info(k=[NAN] * 9, p=[NAN] * 12)
        camera = CameraReader().read(given, (480, 640))
        assert camera.problem.startswith("camera_info: K is not finite") and camera.calibration is given
        assert camera.intrinsics is camera.rectification is None
        assert CameraReader().read(None, (480, 640)).problem == "there is no camera_info"

    def test_a_rectified_topic_s_calibration_says_so_to_whom_the_name_is_lost(self):
        given = info(d=DISTORTED)
        assert CameraReader("auto", "/cam/image_raw").read(given, (480, 640)).calibration is given
        assert CameraReader("false", "/cam/image_rect").read(given, (480, 640)).calibration is given
        for reader in (CameraReader("auto", "/cam/image_rect/compressed"), CameraReader("true", "/cam/image_raw")):
            camera = reader.read(given, (480, 640))
            assert camera.rectification is None
            np.testing.assert_array_equal(camera.intrinsics, matrix(450, 310, 460, 235))
            again = CameraReader().read(camera.calibration, (480, 640))
            np.testing.assert_array_equal(again.intrinsics, camera.intrinsics)
            assert again.rectification is None


def test_depth_of_a_turned_camera_is_along_the_rectified_axis():
    """A plane at z = 4 of the raw camera; each rectified pixel's point is worked out by ray and plane."""
    turn = cv2.Rodrigues(np.array([0.0, 0.1, 0.0]))[0]
    model = camera_model(info(d=[0.0001, 0, 0, 0, 0], r=turn.ravel().tolist()), (480, 640), None)
    rectification = model.rectification
    depth = rectification.depth(np.full((480, 640), 4.0, np.float32))
    for u, v in ((300, 200), (400, 100)):
        ray = turn.T @ np.linalg.inv(model.intrinsics) @ np.array([u, v, 1.0])
        assert depth[v, u] == pytest.approx((turn @ (ray * 4.0 / ray[2]))[2], rel=1e-5)
    assert np.isnan(depth[~rectification.seen]).all() and not rectification.seen.all()


def test_labels_move_by_the_nearest_pixel():
    shift = Rectification(
        Distortion("plumb_bob", np.zeros(5), matrix(2, 2.4, 2, 1), np.eye(3)), matrix(2, 1, 2, 1), (2, 4)
    )
    moved = shift.nearest(np.arange(8, dtype=np.uint16).reshape(2, 4), 65535)
    assert moved.tolist() == [[1, 2, 3, 65535], [5, 6, 7, 65535]] and moved.dtype == np.uint16


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
    seen = camera.rectification.image(image)[..., 0].astype(float)

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
