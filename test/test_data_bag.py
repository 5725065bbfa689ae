# SPDX-License-Identifier: Apache-2.0
"""Recordings of both storages: round trips, splits, compression, missing ends, pairing and refusals."""

import logging
import shutil

import cv2
import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from monodvps_ros.data import open_source
from monodvps_ros.data.bag import BagReader, BagWriter, is_bag, messages, read_messages
from monodvps_ros.data.bag_source import BagSource
from monodvps_ros.data.message_fields import cloud_fields, image_fields, segments_fields
from monodvps_ros.errors import DataError, EncodingError, ShapeError
from monodvps_ros.outputs import IMAGE_TYPE, POINT_CLOUD_TYPE, POINT_DTYPE, SEGMENTS_TYPE, Segment
from monodvps_ros.types import SampleSource

STORE = get_typestore(Stores.ROS2_KILTED)
IMAGE = "/camera/image_raw"
K = np.array([[50.0, 0, 15.5], [0, 60.0, 9.5], [0, 0, 1]])
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def message(kind, stamp, fields):
    return messages.message(STORE, kind, {"header": messages.header_fields(stamp, "cam"), **fields})


def picture(seed, size=(20, 32)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def write_frames(path, stamps, storage="mcap", topic=IMAGE, info=True, size=(20, 32)):
    with BagWriter(path, storage) as writer:
        for index, stamp in enumerate(stamps):
            writer.image(topic, stamp, "cam", picture(index, size), "rgb8")
            if info:
                writer.camera_info("/camera/camera_info", stamp, "cam", size, K)
    return path


def stamps(count, step=SECOND // 10):
    return [START + index * step for index in range(count)]


def storage_file(path):
    return next(file for file in path.iterdir() if file.suffix in {".mcap", ".db3"})


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
        writer.message("/segments", SEGMENTS_TYPE, START, "cam", segments_fields([segment]))
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


def test_raw_messages_keep_every_byte_and_their_definition(tmp_path, storage):
    with BagWriter(tmp_path / "made", storage) as writer:
        writer.message("/s", SEGMENTS_TYPE, START, "cam", segments_fields([]))
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
    with BagWriter(tmp_path / "two") as writer, pytest.raises(DataError, match="'Thing' is no message type"):
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


def write_compressed(path, storage, mode, size=(20, 32)):
    plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
    writer = Writer(path, version=9, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection(IMAGE, "sensor_msgs/msg/Image", typestore=STORE)
        for index, stamp in enumerate(stamps(3)):
            image = message(IMAGE_TYPE, stamp, image_fields(picture(index, size), "rgb8"))
            writer.write(connection, stamp, STORE.serialize_cdr(image, image.__msgtype__))
    return path


@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE, CompressionMode.STORAGE])
def test_recordings_that_were_compressed_as_such(tmp_path, storage, mode):
    if storage == "sqlite3" and mode == CompressionMode.STORAGE:
        pytest.skip("sqlite3 has no compression of its own")
    write_compressed(tmp_path / "bag", storage, mode)
    samples = list(open_source(tmp_path / "bag"))
    assert [sample.frame.stamp_ns for sample in samples] == stamps(3)
    np.testing.assert_array_equal(samples[2].frame.image, picture(2))


def split_bag(tmp_path, storage, count=3, each=2):
    """Make a recording of several files, as `ros2 bag record --max-bag-size` does; the tenth comes after the ninth."""
    whole, names = tmp_path / "split", []
    whole.mkdir()
    for part in range(count):
        piece = write_frames(tmp_path / f"piece{part}", stamps(count * each)[part * each : part * each + each], storage)
        names.append(f"split_{part + 8}{storage_file(piece).suffix}")
        shutil.move(storage_file(piece), whole / names[-1])
        metadata = yaml.safe_load((piece / "metadata.yaml").read_text())
    metadata["rosbag2_bagfile_information"]["relative_file_paths"] = names
    (whole / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    return whole


@pytest.mark.parametrize("with_metadata", [True, False])
def test_split_recordings(tmp_path, storage, with_metadata):
    path = split_bag(tmp_path, storage)
    if not with_metadata:
        (path / "metadata.yaml").unlink()
    source = open_source(path)
    assert len(source) == 6
    assert [sample.frame.stamp_ns for sample in source] == stamps(6)


def test_a_file_that_metadata_names_is_missing(tmp_path):
    path = split_bag(tmp_path, "mcap")
    (path / "split_9.mcap").unlink()
    with pytest.raises(DataError, match=r"names files that are not there: .*split_9\.mcap"):
        open_source(path)


def test_a_missing_end_is_said_and_all_before_it_is_read(tmp_path, storage, caplog):
    size = (480, 640)  # a message is a chunk
    whole = write_frames(tmp_path / "bag", stamps(8), storage, size=size)
    data = storage_file(whole).read_bytes()
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / storage_file(whole).name).write_bytes(data[: len(data) * 3 // 5])
    with caplog.at_level(logging.WARNING):
        source = open_source(cut)
    assert "its end is cut off" in caplog.text and "messages before it are read" in caplog.text
    assert source.damage and "cut off" in source.damage[0]
    samples = list(source)
    assert 3 <= len(samples) == len(source) <= 4  # 3/5 of 8 frames, less what the last chunk holds
    np.testing.assert_array_equal(samples[-1].frame.image, picture(len(samples) - 1, size))


def test_a_missing_index_loses_nothing(tmp_path):
    path = write_frames(tmp_path / "bag", stamps(4))
    file = storage_file(path)
    file.write_bytes(file.read_bytes()[:-20])
    (path / "metadata.yaml").unlink()
    source = open_source(path)
    assert len(list(source)) == 4
    assert "its end is cut off" in source.damage[0] and "8 messages" in source.damage[0]


def test_the_last_of_several_files_may_be_cut(tmp_path, storage):
    path = split_bag(tmp_path, storage)
    last = sorted(path.glob("split_*"), key=lambda file: len(file.name))[-1]
    data = last.read_bytes()
    last.write_bytes(data[: len(data) - 5000])
    (path / "metadata.yaml").unlink()
    source = open_source(path)
    assert len(source) >= 4 and len(source.damage) == 1 and last.name in source.damage[0]


def test_sqlite_with_a_log_that_was_not_merged(tmp_path):
    import sqlite3

    path = write_frames(tmp_path / "bag", stamps(2), "sqlite3")
    file = storage_file(path)
    database = sqlite3.connect(file)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("INSERT INTO messages SELECT NULL, topic_id, timestamp, data FROM messages WHERE id = 1")
    database.commit()
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in (file.name, f"{file.name}-wal"):
        shutil.copy(path / name, killed / name)
    database.close()
    with BagReader(killed) as reader:
        assert reader.topics[IMAGE].count == 3
        assert "was not closed; 5 messages" in reader.damage[0]


@pytest.mark.parametrize("content", [b"", b"\x89MCAP0\r\n", b"nothing of the kind" * 10])
def test_a_file_without_anything_is_refused(tmp_path, storage, content):
    file = tmp_path / ("x.mcap" if storage == "mcap" else "x.db3")
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.(mcap|db3): .*"):
        open_source(file)


@pytest.mark.parametrize("mode", [CompressionMode.STORAGE, CompressionMode.MESSAGE])
def test_damage_in_the_middle_costs_what_is_damaged(tmp_path, mode):
    path = write_compressed(tmp_path / "bag", "mcap", mode, size=(480, 640))
    file = storage_file(path)
    before, magic, after = file.read_bytes().rpartition(b"\x28\xb5\x2f\xfd")  # what zstd begins with
    assert magic
    file.write_bytes(before + bytes(4) + after)
    source = open_source(path)
    samples = list(source)
    assert [sample.frame.stamp_ns for sample in samples] == stamps(3)[: len(samples)] and len(samples) in {1, 2}
    assert source.damage


def test_a_message_that_is_not_of_its_type(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        writer.raw(IMAGE, "sensor_msgs/msg/Image", b"\0\1\0\0abc", 5)
    with pytest.raises(
        DataError, match=rf"message on {IMAGE} received at 5 ns cannot be read as sensor_msgs/msg/Image"
    ):
        list(read_messages(tmp_path / "bag"))


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
    with pytest.raises(DataError, match=r"topic /up/image is not there.*its topics: /left/depth \(sensor_msgs"):
        open_source(tmp_path / "bag", image_topic="/up/image")
    with pytest.raises(DataError, match=r"topic /left/depth is of type sensor_msgs/msg/Image; expected .*CameraInfo"):
        open_source(tmp_path / "bag", image_topic="/left/image_raw", camera_info_topic="/left/depth")
    with pytest.raises(EncodingError, match=r"/left/depth at .*'16UC1' as a picture"):
        list(open_source(tmp_path / "bag", image_topic="/left/depth"))


def test_no_images_at_all(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        writer.transform(START, "world", "cam", np.eye(4))
    with pytest.raises(DataError, match=r"holds no camera images.*its topics: /tf"):
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
    with pytest.raises(DataError, match=r"is no recording; expected a folder or a file that ends in \.mcap or \.db3"):
        BagReader(tmp_path / "x.txt")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/metadata.yaml").write_text("a: [")
    with pytest.raises(DataError, match="cannot be read as the description of a recording"):
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
