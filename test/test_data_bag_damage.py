# SPDX-License-Identifier: Apache-2.0
"""Recordings that are compressed, split, cut off or damaged: what is read, and what is told."""

import logging
import os
import shutil

import numpy as np
import pytest
import yaml
from bag_files import IMAGE, STORE, message, picture, stamps, storage_file, write_frames
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from monodvps_ros.data import open_source
from monodvps_ros.data.bag import BagReader, BagWriter, read_messages
from monodvps_ros.data.message_fields import image_fields
from monodvps_ros.errors import DataError
from monodvps_ros.outputs import IMAGE_TYPE


@pytest.fixture(params=["mcap", "sqlite3"])
def storage(request):
    return request.param


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


def test_a_split_file_without_content_costs_itself(tmp_path, caplog):
    write_frames(tmp_path / "bag", stamps(3))
    (tmp_path / "bag" / "metadata.yaml").unlink()
    (tmp_path / "bag" / "bag_1.mcap").write_bytes(b"")
    source = open_source(tmp_path / "bag")
    assert [sample.frame.stamp_ns for sample in source] == stamps(3)
    assert any("bag_1.mcap: is 0 bytes long" in sentence for sentence in source.damage)


def test_a_file_that_metadata_names_is_missing(tmp_path):
    path = split_bag(tmp_path, "mcap")
    whole = len(list(open_source(path)))
    (path / "split_9.mcap").unlink()
    source = open_source(path)
    assert 0 < len(list(source)) < whole
    assert any(f"names files that do not exist: {path}/split_9.mcap" in sentence for sentence in source.damage)
    for file in path.glob("*.mcap"):
        file.unlink()
    with pytest.raises(DataError, match=r"names files that do not exist: .*split_9\.mcap"):
        open_source(path)


def test_a_storage_file_that_was_renamed_is_read_and_told(tmp_path):
    path = write_frames(tmp_path / "bag", stamps(3))
    storage_file(path).rename(path / "kept.mcap")
    source = open_source(path)
    assert [sample.frame.stamp_ns for sample in source] == stamps(3)
    assert list(source.damage) == [f"{path}: metadata.yaml names files that do not exist: {path}/bag.mcap"]


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
    (killed / f"{file.name}-shm").unlink()
    (killed / f"{file.name}-shm").symlink_to("/proc/nowhere")  # as where nothing can be written
    with pytest.raises(DataError, match="was not closed: if its folder cannot be written to, copy it to one that can"):
        open_source(killed)


@pytest.mark.timeout(20)
def test_a_pipe_is_not_waited_for(tmp_path):
    path = write_frames(tmp_path / "bag", stamps(2))
    os.mkfifo(path / "pipe.mcap")
    source = open_source(path)
    assert len(source) == 2 and "pipe.mcap: is no regular file" in " ".join(source.damage)
    with pytest.raises(DataError, match=r"pipe\.mcap: is no regular file"):
        open_source(path / "pipe.mcap")


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
