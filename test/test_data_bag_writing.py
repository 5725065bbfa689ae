# SPDX-License-Identifier: Apache-2.0
"""Recordings that are compressed, split, interrupted, or do not fit on the disk."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from bag_files import IMAGE, SECOND, START, picture, write_frames
from mcap.reader import make_reader
from rosbags.rosbag2 import Reader

from monodvps_ros.data import open_source
from monodvps_ros.data.bag import BagWriter, read_messages
from monodvps_ros.data.message_fields import image_fields, time_to_ns
from monodvps_ros.errors import DataError
from monodvps_ros.files import partials
from monodvps_ros.outputs import IMAGE_TYPE

MEGABYTE = 1_000_000
#: Writes pictures of 1.5 MB until it is killed or the file may not grow; says where after the third.
WRITER = """
import resource, sys
from pathlib import Path
from bag_files import IMAGE, START, picture
from monodvps_ros.data.bag import BagWriter
if sys.argv[2] != "-":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
with BagWriter(Path(sys.argv[1]), compressed=True, split_bytes=4_000_000, keep_unfinished=True) as writer:
    for index in range(10_000):
        writer.image(IMAGE, START + index, "cam", picture(index, (500, 1000)), "rgb8")
        if index == 3:
            print(writer.unfinished, flush=True)
"""


def writer(path, limit="-"):
    command = [sys.executable, "-c", WRITER, str(path), limit]
    search = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": search}
    )


def stamps_of(path):
    return [time_to_ns(message.header.stamp) for *_, message in read_messages(path)]


def write(path, frames, **options):
    """Pictures of one grey level, which compress well, of 0.3 MB each."""
    with BagWriter(path, **options) as writer:
        for index in range(frames):
            fields = image_fields(np.full((200, 500, 3), index, np.uint8), "rgb8")
            writer.message(IMAGE, IMAGE_TYPE, START + index * SECOND, "cam", fields)
            writer.message("/second", IMAGE_TYPE, START + index * SECOND + 1, "cam", fields)
    return path


def test_chunks_are_compressed_with_zstd_and_hold_the_same(tmp_path):
    plain, compressed = write(tmp_path / "plain", 8), write(tmp_path / "zstd", 8, compressed=True)
    assert [*map(bytes, (data for *_, data in raw(plain)))] == [*map(bytes, (data for *_, data in raw(compressed)))]
    assert (compressed / "zstd.mcap").stat().st_size < 0.01 * (plain / "plain.mcap").stat().st_size
    with (compressed / "zstd.mcap").open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        chunks = reader.get_summary().chunk_indexes
        assert [message.data for *_, message in reader.iter_messages()] == [bytes(data) for *_, data in raw(plain)]
    assert {chunk.compression for chunk in chunks} == {"zstd"} and len(chunks) > 1


def raw(path):
    with Reader(path) as reader:
        return [(connection.topic, stamp, data) for connection, stamp, data in reader.messages()]


@pytest.mark.parametrize(("storage", "suffix"), [("mcap", ".mcap"), ("sqlite3", ".db3")])
def test_files_are_split_by_size_and_described_together(tmp_path, storage, suffix):
    path = write(tmp_path / "bag", 8, storage=storage, split_bytes=MEGABYTE)
    files = ["bag" + suffix, *(f"bag_{number}{suffix}" for number in range(1, len(list(path.iterdir())) - 1))]
    assert {file.name for file in path.iterdir()} == {"metadata.yaml", *files}
    assert len(files) > 1
    said = yaml.safe_load((path / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert said["relative_file_paths"] == files
    assert said["message_count"] == 16 == sum(file["message_count"] for file in said["files"])
    assert said["starting_time"] == {"nanoseconds_since_epoch": START}
    assert said["duration"] == {"nanoseconds": 7 * SECOND + 1}
    counts = {topic["topic_metadata"]["name"]: topic["message_count"] for topic in said["topics_with_message_count"]}
    assert counts == {IMAGE: 8, "/second": 8}
    assert len(raw(path)) == 16, "rosbags reads it"
    assert stamps_of(path) == [START + index * SECOND + second for index in range(8) for second in (0, 1)]


def test_what_a_killed_recorder_wrote_is_found_and_read(tmp_path, caplog):
    path = tmp_path / "drive [1]"
    with writer(path) as process:
        unfinished = process.stdout.readline().strip()
        process.kill()
    assert [str(each) for each in partials(tmp_path)] == [unfinished]
    with pytest.raises(
        DataError, match=r"does not exist; what an interrupted recorder wrote is in .*: give that"
    ) as no:
        open_source(path)
    assert str(no.value).endswith(f"{unfinished}: give that")
    found = stamps_of(partials(tmp_path)[0])
    assert found == [START + index for index in range(len(found))] and len(found) >= 3
    write_frames(path, [START])
    assert f"{unfinished}: a recording that was interrupted; it can be read" in caplog.text
    assert stamps_of(partials(tmp_path)[0]) == found


def test_a_full_disk_is_one_line_and_what_was_recorded_stays(tmp_path):
    with writer(tmp_path / "drive", "3500000") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    (unfinished,) = partials(tmp_path)
    last = errors.strip().splitlines()[-1]
    assert last == (
        f"monodvps_ros.errors.DataError: {tmp_path / 'drive'}: cannot be written: File too large; what has been "
        f"recorded is in {unfinished}"
    )
    assert stamps_of(unfinished) == [START, START + 1]


def test_a_full_disk_leaves_nothing_of_what_can_be_made_again(tmp_path, monkeypatch):
    with (
        pytest.raises(DataError, match=r"bag: cannot be written: No space left on device$"),
        BagWriter(tmp_path / "bag") as writer,
    ):
        monkeypatch.setattr(writer._files.writer, "write", full)
        writer.image(IMAGE, START, "cam", picture(0), "rgb8")
    assert list(tmp_path.iterdir()) == []


def full(*_):
    raise OSError(28, "No space left on device")


def test_what_a_killed_run_left_is_removed_and_told_and_what_is_being_written_is_not(tmp_path, caplog):
    rest = tmp_path / ".bag.0123abcd.partial"
    rest.mkdir()
    (rest / "bag.mcap").write_bytes(b"half")
    with BagWriter(tmp_path / "bag") as first:
        assert caplog.messages == [f"{rest}: removed, an interrupted run left it"]
        assert partials(tmp_path) == [first.unfinished]
        with pytest.raises(RuntimeError, match="stop"), BagWriter(tmp_path / "bag"):
            raise RuntimeError("stop")
        assert len(caplog.messages) == 1
        first.image(IMAGE, START, "cam", picture(0), "rgb8")
    assert stamps_of(tmp_path / "bag") == [START]
