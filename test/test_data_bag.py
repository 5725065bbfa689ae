# SPDX-License-Identifier: Apache-2.0
"""Recordings of both storages: round trips, pairing, cameras, truth and refusals."""

import cv2
import numpy as np
import pytest
from bag_files import IMAGE, SECOND, START, STORE, K, message, picture, stamps, storage_file, write_frames

from monodvps_ros.data import open_source
from monodvps_ros.data.bag import BagReader, BagWriter, is_bag, messages, read_messages
from monodvps_ros.data.bag.source import BagSource
from monodvps_ros.data.message_fields import cloud_fields, image_fields, segments_fields
from monodvps_ros.errors import DataError, EncodingError, ShapeError
from monodvps_ros.outputs import (
    IMAGE_TYPE,
    POINT_CLOUD_TYPE,
    POINT_DTYPE,
    SEGMENTS_TYPE,
    ScaleEstimate,
    ScaleState,
    Segment,
)
from monodvps_ros.types import SampleSource

#: Where the metres of segments come from.
METRES = ScaleEstimate(1.0, 1.0, ScaleState.METRIC)


@pytest.fixture(params=["mcap", "sqlite3"])
def storage(request):
    return request.param


def test_everything_that_is_written_comes_back(tmp_path, storage):
    depth = np.array([[1.5, np.nan], [np.inf, 0]], np.float32)
    points = np.zeros((2, 3), POINT_DTYPE)
    points["x"], points["label"], points["instance"] = np.nan, 13, 7
    points["rgb"] = np.array([0x00FF8001], np.uint32).view(np.float32)
    segment = Segment(13001, 9, 13, "car", True, 0.5, 12, (1, 2, 3, 4), float("nan"), (1.0, 2.0, 3.0), 6)
    with BagWriter(tmp_path / "deep" / "bag", storage) as writer:
        writer.image("/depth", START + 5, "cam", depth, "32FC1")
        writer.camera_info("/info", START, "cam", (20, 32), K)
        writer.message("/points", POINT_CLOUD_TYPE, START, "cam", cloud_fields(points))
        writer.message("/few", POINT_CLOUD_TYPE, START, "cam", cloud_fields(points[0, :2]))
        writer.message("/segments", SEGMENTS_TYPE, START, "cam", segments_fields([segment], METRES))
    found = {
        topic: (kind, received, message) for topic, kind, received, message in read_messages(tmp_path / "deep/bag")
    }
    image = found["/depth"][2]
    assert (image.encoding, image.height, image.width, image.step, image.header.frame_id) == ("32FC1", 2, 2, 8, "cam")
    assert messages.stamp_ns(image) == START + 5 == found["/depth"][1]
    np.testing.assert_array_equal(image.data.view(np.float32).reshape(2, 2), depth)
    info = found["/info"][2]
    assert info.k.tolist() == K.ravel().tolist() and info.p.reshape(3, 4)[:, :3].tolist() == K.tolist()
    assert (info.height, info.width, info.distortion_model, info.d.any()) == (20, 32, "plumb_bob", False)
    cloud, few = found["/points"][2], found["/few"][2]
    assert cloud.data.tobytes() == points.tobytes()
    assert (cloud.height, cloud.width, cloud.point_step, cloud.row_step, cloud.is_dense) == (2, 3, 24, 72, False)
    assert (few.height, few.width, few.is_dense) == (1, 2, True)
    assert [(f.name, f.offset, f.datatype, f.count) for f in cloud.fields] == [
        ("x", 0, 7, 1), ("y", 4, 7, 1), ("z", 8, 7, 1), ("rgb", 12, 7, 1), ("label", 16, 6, 1), ("instance", 20, 6, 1)
    ]  # fmt: skip
    assert found["/segments"][0] == "monodvps_ros/msg/PanopticSegments"
    (back,) = found["/segments"][2].segments
    assert (back.panoptic_id, back.track_id, back.class_name, back.x_max, back.age_frames) == (13001, 9, "car", 3, 6)
    assert np.isnan(back.median_depth_m) and back.centroid_m.z == 3.0


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (-1, 2, 0.5)])
@pytest.mark.parametrize("angle", [0.0, 0.3, np.pi / 2, np.pi - 1e-9, np.pi, 4.0])
def test_any_transform_comes_back(axis, angle):
    matrix = np.eye(4)
    matrix[:3, :3] = cv2.Rodrigues(np.array(axis) / np.linalg.norm(axis) * angle)[0]
    matrix[:3, 3] = 1, -2, 3
    fields = messages.transform_fields(START, "world", "cam", matrix)
    message = messages.message(STORE, "tf2_msgs/msg/TFMessage", fields)
    np.testing.assert_allclose(messages.transform_matrix(message.transforms[0].transform), matrix, atol=1e-9)
    assert message.transforms[0].transform.rotation.w >= 0


@pytest.mark.parametrize("quaternion", [(0, 0, 0, 0), (0, 0, np.nan, 1), (np.inf, 0, 0, 0)])
def test_transforms_without_a_rotation_are_left_out_and_logged_once(quaternion, caplog):
    message = messages.message(
        STORE, "tf2_msgs/msg/TFMessage", messages.transform_fields(START, "world", "/cam", np.eye(4))
    )
    refused = set()
    ((stamp_ns, parent, child, matrix),) = messages.read_transforms(message, refused)
    assert (stamp_ns, parent, child, matrix.tolist()) == (START, "world", "cam", np.eye(4).tolist())
    rotation = message.transforms[0].transform.rotation
    rotation.x, rotation.y, rotation.z, rotation.w = quaternion
    assert list(messages.read_transforms(message, refused)) == []
    assert list(messages.read_transforms(message, refused)) == []
    assert [record.getMessage() for record in caplog.records] == [
        f"transforms of frame 'cam' are skipped: their quaternion is zero or not finite, as at {START} ns"
    ]


def test_raw_messages_keep_every_byte_and_their_definition(tmp_path, storage):
    with BagWriter(tmp_path / "made", storage) as writer:
        writer.message("/s", SEGMENTS_TYPE, START, "cam", segments_fields([], METRES))
    with BagReader(tmp_path / "made") as reader:
        ((topic, kind, received, data),) = reader.raw_messages()
    with BagWriter(tmp_path / "copied", storage) as writer:
        writer.raw(topic, kind, data, received + 1)
    with BagReader(tmp_path / "copied") as reader:
        assert list(reader.raw_messages()) == [("/s", kind, START + 1, data)]
        assert [m.segments for *_, m in reader.messages()] == [[]]
    assert b"PanopticSegment[] segments" in storage_file(tmp_path / "copied").read_bytes()


def test_an_unknown_type_is_refused_by_name(tmp_path):
    with BagWriter(tmp_path / "bag") as writer, pytest.raises(DataError, match="definition of nobody/msg/Thing is not"):
        writer.raw("/x", "nobody/msg/Thing", b"", 0)
    with BagWriter(tmp_path / "two") as writer, pytest.raises(DataError, match="'Thing' is not a message type"):
        writer.raw("/x", "Thing", b"", 0)


def test_definitions_are_found_in_a_ros_prefix(tmp_path, monkeypatch):
    folder = tmp_path / "prefix/share/robot_msgs/msg"
    folder.mkdir(parents=True)
    (folder / "Wheel.msg").write_text("float64 speed\n")
    (folder / "Wheels.msg").write_text("std_msgs/Header header\nWheel[] wheels\n")
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path / 'prefix'}")
    with BagWriter(tmp_path / "bag") as writer:
        data = (
            b"\0\1\0\0" + bytes(4 + 4) + b"\1\0\0\0\0" + bytes(3) + b"\1\0\0\0" + bytes(4) + np.float64(2.5).tobytes()
        )
        writer.raw("/wheels", "robot_msgs/msg/Wheels", data, 0)
    ((*_, message),) = read_messages(tmp_path / "bag")
    assert message.wheels[0].speed == 2.5


def test_a_recording_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "bag"
    with pytest.raises(RuntimeError, match="stop"), BagWriter(path) as writer:
        writer.image(IMAGE, START, "cam", picture(0), "rgb8")
        assert not path.exists()
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


def test_writer_refusals(tmp_path):
    with pytest.raises(DataError, match="exists already"):
        BagWriter(tmp_path)
    with pytest.raises(DataError, match="no bag storage 'bag1'; there are: mcap, sqlite3"):
        BagWriter(tmp_path / "x", "bag1")
    with BagWriter(tmp_path / "bag") as writer:
        with pytest.raises(EncodingError, match="rgb8 pixels must be uint8"):
            writer.image("/i", 0, "cam", np.zeros((2, 2, 3)), "rgb8")
        with pytest.raises(EncodingError, match="points must be of POINT_DTYPE"):
            writer.message("/c", POINT_CLOUD_TYPE, 0, "cam", cloud_fields(np.zeros((2, 3))))
        with pytest.raises(ShapeError, match="matrix is"):
            writer.transform(0, "world", "cam", np.eye(3))
        with pytest.raises(ShapeError, match="intrinsics is"):
            writer.camera_info("/k", 0, "cam", (2, 2), np.eye(2))


def test_source_reads_images_and_camera(tmp_path, storage):
    source = open_source(write_frames(tmp_path / "bag", stamps(5), storage))
    assert isinstance(source, BagSource) and isinstance(source, SampleSource)
    assert len(source) == 5
    assert source.rate_hz == pytest.approx(10)
    for _ in range(2):  # may be read again
        samples = list(source)
        assert [sample.frame.stamp_ns for sample in samples] == stamps(5)
        assert [sample.index for sample in samples] == list(range(5))
        for index, sample in enumerate(samples):
            np.testing.assert_array_equal(sample.frame.image, picture(index))
            np.testing.assert_array_equal(sample.frame.intrinsics, K)
            assert sample.frame.image.flags.writeable
            assert (sample.frame.frame_id, sample.sequence) == ("cam", "bag")


def test_a_single_file_is_a_recording_too(tmp_path, storage):
    file = storage_file(write_frames(tmp_path / "bag", stamps(3), storage))
    assert [sample.sequence for sample in open_source(file)] == ["bag"] * 3


def test_without_camera_info_k_is_unknown(tmp_path):
    (sample, *_) = open_source(write_frames(tmp_path / "bag", stamps(2), info=False))
    assert sample.frame.intrinsics is None


def test_camera_info_is_that_of_the_stamp_else_the_last_else_the_first(tmp_path):
    first, second, third, fourth = stamps(4)
    with BagWriter(tmp_path / "bag") as writer:
        writer.image(IMAGE, first, "cam", picture(0), "rgb8")
        writer.camera_info(
            "/camera/camera_info", second, "cam", (20, 32), K * np.array([[2, 1, 1], [1, 1, 1], [1, 1, 1]])
        )
        writer.image(IMAGE, second, "cam", picture(0), "rgb8")
        writer.image(IMAGE, third, "cam", picture(0), "rgb8")
        writer.image(IMAGE, fourth, "cam", picture(0), "rgb8")
        writer.camera_info(
            "/camera/camera_info", fourth, "cam", (20, 32), K * np.array([[4, 1, 1], [1, 1, 1], [1, 1, 1]])
        )
    focal = [sample.frame.intrinsics[0, 0] for sample in open_source(tmp_path / "bag")]
    assert focal == [100, 100, 100, 200]


def test_truth_is_paired_by_stamp_wherever_it_lies(tmp_path):
    times = stamps(4)
    pose = np.eye(4)
    pose[:3, 3] = 1, 2, 3
    with BagWriter(tmp_path / "bag") as writer:
        for index, stamp in enumerate(times):
            writer.image(IMAGE, stamp, "cam", picture(index), "rgb8")
            if index == 1:  # two frames late
                continue
            writer.image("/camera/truth/panoptic", stamp, "cam", np.full((20, 32), index * 1000, np.uint16), "16UC1")
            writer.image("/camera/truth/depth", stamp, "cam", np.full((20, 32), index, np.float32), "32FC1")
            writer.image("/camera/truth/flow", stamp, "cam", np.full((20, 32, 2), index, np.float32), "32FC2")
            writer.image("/camera/truth/flow_visible", stamp, "cam", np.full((20, 32), 255, np.uint8), "mono8")
            writer.transform(stamp, "world", "other", np.eye(4))
            writer.transform(stamp, "world", "cam", pose)
        late = message(IMAGE_TYPE, times[1], image_fields(np.ones((20, 32), np.float32), "32FC1"))
        writer.raw(
            "/camera/truth/depth", late.__msgtype__, bytes(STORE.serialize_cdr(late, late.__msgtype__)), times[3]
        )
        writer.image("/camera/truth/depth", times[3] + 7, "cam", np.zeros((20, 32), np.float32), "32FC1")
    source = open_source(tmp_path / "bag")
    truths = [sample.truth for sample in source]
    assert [t.panoptic[0, 0] if t.panoptic is not None else None for t in truths] == [0, None, 2000, 3000]
    assert truths[2].flow_px.shape == (20, 32, 2) and truths[2].flow_visible.all()
    np.testing.assert_allclose(truths[3].world_from_camera, pose, atol=1e-12)
    assert truths[1].world_from_camera is None
    assert source.unpaired == {"depth_m": 2}  # one came when its image was gone, one has none


@pytest.mark.parametrize("text", ["jpeg", "rgb8; jpeg compressed bgr8", "png"])
def test_compressed_images(tmp_path, storage, text):
    smooth = np.repeat(np.linspace(0, 200, 32, dtype=np.uint8)[None, :, None], 20, 0).repeat(3, 2)
    data = cv2.imencode(".png" if text == "png" else ".jpg", smooth[..., ::-1])[1].reshape(-1)
    with BagWriter(tmp_path / "bag", storage) as writer:
        fields = {"format": text, "data": data}
        writer.message("/camera/image_raw/compressed", "sensor_msgs/msg/CompressedImage", START, "cam", fields)
        writer.camera_info("/camera/image_raw/camera_info", START, "cam", (20, 32), K)
        writer.camera_info("/camera/camera_info", START, "cam", (20, 32), K * 1.0)
    (sample,) = open_source(tmp_path / "bag")
    assert np.abs(sample.frame.image.astype(int) - smooth).max() <= 3
    assert sample.frame.intrinsics is not None


def test_several_cameras_must_be_chosen_from(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        for topic in ("/left/image_raw", "/right/image_raw", "/panoptic/color"):
            writer.image(topic, START, "cam", picture(1), "rgb8")
        writer.image("/left/depth", START, "cam", np.zeros((20, 32), np.uint16), "16UC1")
        writer.image("/semantic/image", START, "cam", np.zeros((20, 32), np.uint8), "mono8")
    with pytest.raises(DataError, match=r"choose one of: /left/image_raw, /right/image_raw$"):
        open_source(tmp_path / "bag")
    source = open_source(tmp_path / "bag", image_topic="/right/image_raw")
    assert source.topics.image == "/right/image_raw"
    with pytest.raises(DataError, match=r"topic /up/image is missing.*its topics: /left/depth \(sensor_msgs"):
        open_source(tmp_path / "bag", image_topic="/up/image")
    with pytest.raises(DataError, match=r"topic /left/depth is of type sensor_msgs/msg/Image; expected .*CameraInfo"):
        open_source(tmp_path / "bag", image_topic="/left/image_raw", camera_info_topic="/left/depth")
    with pytest.raises(EncodingError, match=r"/left/depth at .*'16UC1' as a picture"):
        list(open_source(tmp_path / "bag", image_topic="/left/depth"))


def test_a_rectified_camera_is_one_and_the_nodes_own_picture_is_none(tmp_path):
    def bag(name, *topics):
        with BagWriter(tmp_path / name) as writer:
            for topic in topics:
                writer.image(topic, START, "cam", picture(1), "rgb8")
        return open_source(tmp_path / name)

    assert bag("camera", "/cam/image_rect").topics.image == "/cam/image_rect"
    own = "/monodvps/rectified/image", "/monodvps/overlay", "/monodvps/panoptic/color"
    assert bag("node", *own, "/cam/image_rect").topics.image == "/cam/image_rect"
    with pytest.raises(DataError, match="contains no camera images"):
        bag("outputs", *own)


def test_no_images_at_all(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        writer.transform(START, "world", "cam", np.eye(4))
    with pytest.raises(DataError, match=r"contains no camera images.*its topics: /tf"):
        open_source(tmp_path / "bag")


def test_sizes_and_labels_of_truth_are_checked(tmp_path):
    def bag(name, **truth):
        with BagWriter(tmp_path / name) as writer:
            writer.image(IMAGE, START, "cam", picture(0), "rgb8")
            for topic, (pixels, encoding) in truth.items():
                writer.image(f"/camera/truth/{topic}", START, "cam", pixels, encoding)
        return open_source(tmp_path / name)

    with pytest.raises(DataError, match=r"depth_m: is 20 x 31 .* but the image is 20 x 32"):
        list(bag("a", depth=(np.zeros((20, 31), np.float32), "32FC1")))
    with pytest.raises(DataError, match="panoptic id 19000 is of class 19"):
        list(bag("b", panoptic=(np.full((20, 32), 19000, np.uint16), "16UC1")))
    with pytest.raises(EncodingError, match="depth_m is of encoding '16UC1'; expected 32FC1"):
        list(bag("c", depth=(np.zeros((20, 32), np.uint16), "16UC1")))


def test_what_is_a_recording(tmp_path):
    assert is_bag(write_frames(tmp_path / "bag", stamps(1)))
    assert not is_bag(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        BagReader(tmp_path / "nothing")
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(
        DataError, match=r"is not a recording; expected a folder or a file that ends in \.mcap or \.db3"
    ):
        BagReader(tmp_path / "x.txt")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/metadata.yaml").write_text("a: [")
    with pytest.raises(DataError, match=r"metadata\.yaml: cannot be read as YAML"):
        BagReader(tmp_path / "odd")


def test_a_folder_of_recordings_is_a_source_of_sequences(tmp_path):
    for name in ("drive_2", "drive_10"):
        write_frames(tmp_path / "all" / name, stamps(2))
    source = open_source(tmp_path / "all")
    assert len(source) == 4 and source.rate_hz == pytest.approx(10)
    assert [(s.sequence, s.index) for s in source] == [("drive_2", 0), ("drive_2", 1), ("drive_10", 0), ("drive_10", 1)]
    write_frames(tmp_path / "all" / "slow", stamps(2, SECOND))
    with pytest.raises(DataError, match="rates from 1 to 10 Hz"):
        open_source(tmp_path / "all")


def test_a_recording_of_a_folder_that_cannot_be_read_costs_itself(tmp_path):
    for name in ("drive_1", "drive_2", "drive_3"):
        write_frames(tmp_path / "all" / name, stamps(2))
    storage_file(tmp_path / "all/drive_2").write_bytes(b"")
    source = open_source(tmp_path / "all")
    assert [(s.sequence, s.index) for s in source] == [("drive_1", 0), ("drive_1", 1), ("drive_3", 0), ("drive_3", 1)]
    assert len(source.damage) == 1 and "drive_2.mcap: is 0 bytes long" in source.damage[0]
    for name in ("drive_1", "drive_3"):
        storage_file(tmp_path / "all" / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"drive_1\.mcap: is 0 bytes long"):
        open_source(tmp_path / "all")
