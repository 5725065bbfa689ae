# SPDX-License-Identifier: Apache-2.0
"""Recordings of the drivers and converters in use: topics, encodings and camera_infos as their documentation has them.

Of each: which images are the camera's, K, the stamps; or the reason why there are none.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
from recordings import SIZE, START, STEP, STORE, K, camera_info, header, image, stamps, write_bag, write_mcap
from rosbags.typesys import get_types_from_msg

from monodvps_ros.data import open_source
from monodvps_ros.errors import DataError

ROWS, COLUMNS = SIZE
COUNT = 3
ZERO = np.zeros((3, 3))
OTHER = K + np.array([[4.0, 0, 1], [0, 4, 1], [0, 0, 0]])  # of the rectified image, where it differs
FISHEYE = (0.01, -0.002, 0.001, 0.0, 0.0)
BARREL = (-0.1, 0.01, 0.001, -0.001, 0.0)
NITROS = "isaac_ros_nitros_bridge_interfaces/msg/NitrosBridgeImage"
STORE.register(get_types_from_msg("std_msgs/Header header\nuint8[] data\n", NITROS))


@dataclass(frozen=True)
class Driver:
    """What one driver's recording holds, and what is to be read of it.

    Attributes:
        images: encoding, or format of a compressed image, by topic; the camera's first.
        info: topic of the camera_info; empty where there is none.
        given: fields of the camera_info that differ from a calibrated camera's without distortion.
        chosen: image topic given by the user.
        rectified: whether the images are, given by the user.
        k: K of the rectified image; None where it is not known.
        bent: whether distortion is to be removed.
        refused: words of the error.
        clock: header stamps: those of the receipt, of a simulation, or none.
        storage: of the recording.
        compression: by FILE or MESSAGE.
    """

    images: dict[str, str]
    info: str = ""
    given: dict = field(default_factory=dict)
    chosen: str | None = None
    rectified: str = "auto"
    k: np.ndarray | None = None
    bent: bool = False
    refused: str = ""
    clock: str = "receipt"
    storage: str = "mcap"
    compression: str | None = None


DRIVERS = {
    "usb_cam, not calibrated": Driver(
        {"/camera1/image_raw": "yuv422_yuy2"}, "/camera1/camera_info",
        {"k": ZERO, "p": ZERO, "width": 0, "height": 0, "distortion_model": ""}, storage="sqlite3",
    ),
    "usb_cam, uyvy": Driver({"/image_raw": "yuv422"}, "/camera_info", k=K),
    "usb_cam, MJPEG kept": Driver({"/image_raw/compressed": "jpeg"}, "/camera_info", k=K, storage="sqlite3"),
    "v4l2_camera": Driver({"/image_raw": "rgb8"}, "/camera_info", {"d": BARREL}, k=K, bent=True),
    "v4l2_camera, not calibrated": Driver({"/image_raw": "mono8"}, "/camera_info", {"k": ZERO, "p": ZERO, "d": ()}),
    "gscam, calibrated without a size": Driver(
        {"/camera/image_raw": "rgb8"}, "/camera/camera_info", {"width": 0, "height": 0}, k=K,
    ),
    "gscam, jpeg": Driver({"/camera/image_raw/compressed": "jpeg"}, "/camera/camera_info", k=K),
    "RealSense": Driver(
        {"/camera/camera/color/image_raw": "rgb8", "/camera/camera/depth/image_rect_raw": "16UC1",
         "/camera/camera/aligned_depth_to_color/image_raw": "16UC1",
         "/camera/camera/color/image_raw/compressed": "rgb8; jpeg compressed bgr8",
         "/camera/camera/depth/image_rect_raw/compressedDepth": "16UC1; compressedDepth png"},
        "/camera/camera/color/camera_info", k=K, storage="sqlite3", compression="FILE",
    ),
    "RealSense, infrared too": Driver(
        {"/camera/camera/infra1/image_rect_raw": "mono8", "/camera/camera/color/image_raw": "rgb8"},
        refused="several image topics; choose one of: /camera/camera/color/image_raw, /camera/camera/infra1/image_rect",
    ),
    "RealSense, infrared chosen": Driver(
        {"/camera/camera/infra1/image_rect_raw": "mono8", "/camera/camera/color/image_raw": "rgb8"},
        "/camera/camera/infra1/camera_info", chosen="/camera/camera/infra1/image_rect_raw", k=K,
    ),
    "RealSense T265": Driver(
        {"/camera/fisheye1/image_raw": "mono8"}, "/camera/fisheye1/camera_info",
        {"distortion_model": "equidistant", "d": FISHEYE, "p": OTHER}, k=OTHER, bent=True,
    ),
    "ZED, version 4": Driver(
        {"/zed/zed_node/rgb/image_rect_color": "bgra8", "/zed/zed_node/depth/depth_registered": "32FC1"},
        "/zed/zed_node/rgb/camera_info", {"stamp": 0}, k=K,
    ),
    "ZED, version 5": Driver(
        {"/zed/zed_node/rgb/color/rect/image": "bgra8", "/zed/zed_node/depth/depth_registered": "32FC1"},
        "/zed/zed_node/rgb/color/rect/camera_info", {"d": BARREL, "p": OTHER}, k=OTHER,
    ),
    "ZED, not rectified": Driver(
        {"/zed/zed_node/left_raw/image_raw_color": "bgra8"}, "/zed/zed_node/left_raw/camera_info",
        {"distortion_model": "rational_polynomial", "d": (*BARREL, 0.0, 0.0, 0.0)}, k=K, bent=True,
    ),
    "Isaac, H.264": Driver(
        {"/front_stereo_camera/left/image_compressed": "h264"}, "/front_stereo_camera/left/camera_info",
        refused="image_compressed: has format 'h264'; accepted: jpeg, png",
    ),
    "Isaac Sim": Driver(
        {"/front_stereo_camera/left/image_raw": "rgb8", "/front_stereo_camera/left/image_raw/nitros_bridge": NITROS},
        "/front_stereo_camera/left/camera_info", k=K, clock="simulation",
    ),
    "Isaac Sim, plain names": Driver({"/rgb": "rgb8", "/depth": "32FC1"}, "/camera_info", k=K, clock="simulation"),
    "Argus": Driver({"/left/image_raw": "nv12"}, "/left/camera_info", k=K),
    "Autoware": Driver(
        {"/sensing/camera/traffic_light/image_raw/compressed": "bgr8; jpeg compressed bgr8"},
        "/sensing/camera/traffic_light/camera_info", {"d": BARREL, "p": OTHER}, k=OTHER, bent=True,
        storage="sqlite3", compression="MESSAGE",
    ),
    "Autoware, six cameras": Driver(
        {f"/sensing/camera/camera{number}/image_rect_color/compressed": "png" for number in range(6)},
        "/sensing/camera/camera3/camera_info", {"d": BARREL, "p": OTHER}, k=OTHER,
        chosen="/sensing/camera/camera3/image_rect_color/compressed",
    ),
    "industrial, Bayer": Driver({"/cam/image_raw": "bayer_rggb8"}, "/cam/camera_info", k=K),
    "kitti2mcap, odometry: P alone": Driver(
        {"/kitti/camera_color_left/image_rect": "bgr8"}, "/kitti/camera_color_left/camera_info",
        {"k": ZERO, "p": OTHER, "d": (), "distortion_model": ""}, k=OTHER,
    ),
    "kitti2bag of ROS 2, raw": Driver(
        {"/kitti/camera_gray_left/image_raw": "mono8"}, "/kitti/camera_gray_left/camera_info",
        {"d": BARREL, "p": OTHER}, k=OTHER, bent=True,
    ),
    "kitti2bag, synced: rectified images beside K and D of the raw camera": Driver(
        {"/kitti/camera_color_left/image": "bgr8"}, "/kitti/camera_color_left/camera_info",
        {"d": BARREL, "p": OTHER}, rectified="true", k=OTHER,
    ),
    "kitti2rosbag2: an encoding that is none of a picture": Driver(
        {"/camera1/left/image_raw": "8UC3"}, refused="encoding '8UC3' is not one of rgb8", storage="sqlite3",
    ),
    "a driver without stamps": Driver({"/cam/image": "rgb8"}, "/cam/camera_info", {"stamp": 0}, k=K, clock="none"),
}  # fmt: skip


def grey(number):
    return 30 + 40 * number


def pixels(encoding, number):
    """The bytes and the step of a grey picture."""
    value, neutral = grey(number), 128
    luma = round(16 + value * 219 / 255)  # BT.601, limited range
    if encoding in {"yuv422", "yuv422_yuy2"}:
        pair = (neutral, luma) if encoding == "yuv422" else (luma, neutral)
        return np.tile(np.array(pair, np.uint8), ROWS * COLUMNS), 2 * COLUMNS
    if encoding == "nv12":
        return np.repeat(np.array([luma, neutral], np.uint8), [ROWS * COLUMNS, ROWS * COLUMNS // 2]), COLUMNS
    if encoding in {"16UC1", "32FC1"}:
        kind = np.uint16 if encoding == "16UC1" else np.float32
        return np.full(ROWS * COLUMNS, 5, kind).view(np.uint8), COLUMNS * kind().itemsize
    channels = {"rgb8": 3, "bgr8": 3, "8UC3": 3, "bgra8": 4}.get(encoding, 1)
    return np.full(ROWS * COLUMNS * channels, value, np.uint8), COLUMNS * channels


def picture_message(encoding, number, stamp_ns):
    types = STORE.types
    if encoding == NITROS:
        return types[NITROS](header(stamp_ns), np.zeros(4, np.uint8))
    if encoding == "h264":
        data = np.frombuffer(b"\0\0\0\1\x67\x64\0\x1f", np.uint8)
        return types["sensor_msgs/msg/CompressedImage"](header(stamp_ns), encoding, data)
    if "jpeg" in encoding or "png" in encoding:
        ending = ".png" if "png" in encoding else ".jpg"
        data = cv2.imencode(ending, np.full((*SIZE, 3), grey(number), np.uint8))[1].reshape(-1)
        return types["sensor_msgs/msg/CompressedImage"](header(stamp_ns), encoding, data)
    made = image(number, stamp_ns)
    made.encoding = encoding
    made.data, made.step = pixels(encoding, number)
    return made


def info_message(stamp_ns, given):
    made = camera_info(given.get("stamp", stamp_ns))
    for name in ("width", "height", "distortion_model"):
        setattr(made, name, given.get(name, getattr(made, name)))
    made.d = np.array(given.get("d", made.d), np.float64)
    made.k = np.array(given.get("k", K), np.float64).reshape(-1)
    made.p = np.concatenate([np.reshape(given.get("p", K), (3, 3)), np.zeros((3, 1))], 1).reshape(-1)
    return made


def header_stamps(clock):
    first = {"receipt": START, "simulation": 3 * STEP, "none": 0}[clock]
    return [first + number * (STEP if first else 0) for number in range(COUNT)]


def recorded(path, driver):
    """Write the recording: each image and, after it, its camera_info, received a little later than they are stamped."""
    found = []
    for number, stamp_ns in enumerate(header_stamps(driver.clock)):
        at = stamps(COUNT)[number] + 1_000_000
        found += [(topic, at, picture_message(kind, number, stamp_ns)) for topic, kind in driver.images.items()]
        if driver.info:
            found.append((driver.info, at, info_message(stamp_ns, driver.given)))
    if driver.storage == "mcap" and driver.compression is None:
        return write_mcap(path.with_suffix(".mcap"), found)
    return write_bag(path, found, driver.storage, driver.compression).parent


@pytest.mark.parametrize("name", DRIVERS)
def test_the_recording_of_a_driver(tmp_path, name):
    driver = DRIVERS[name]
    path = recorded(tmp_path / "bag", driver)
    if driver.refused:
        with pytest.raises(DataError) as error:
            open_source(path, image_topic=driver.chosen, rectified=driver.rectified)
        assert driver.refused in str(error.value)
        return
    source = open_source(path, image_topic=driver.chosen, rectified=driver.rectified)
    samples = list(source)
    assert source.topics.image == (driver.chosen or next(iter(driver.images)))
    assert len(source) == len(samples) == COUNT and list(source.damage) == []
    expected = header_stamps(driver.clock)
    if driver.clock == "none":
        expected = [stamp_ns + 1_000_000 for stamp_ns in stamps(COUNT)]
    assert [sample.frame.stamp_ns for sample in samples] == expected
    for number, sample in enumerate(samples):
        assert sample.frame.image.shape == (*SIZE, 3)
        assert np.abs(sample.frame.image.astype(int) - grey(number)).max() <= 2
        if driver.k is None:
            assert sample.frame.intrinsics is None
        else:
            np.testing.assert_array_equal(sample.frame.intrinsics, driver.k)
        assert (sample.frame.rectification is not None) == driver.bent


def test_messages_of_foxglove_alone_are_named(tmp_path):
    """As converters write who use foxglove's own schemas: protobuf, no ROS."""
    foreign = [
        ("/CAM_FRONT/image_rect_compressed", "protobuf", START, b"\x0a\x00"),
        ("/CAM_FRONT/camera_info", "protobuf", START, b"\x0a\x00"),
        ("/gps", "json", START, b"{}"),
    ]
    path = write_mcap(tmp_path / "scene.mcap", [], foreign, profile="")
    with pytest.raises(
        DataError, match=r"contains no camera images .*/CAM_FRONT/camera_info \(protobuf, not of ROS 2\)"
    ):
        open_source(path)
