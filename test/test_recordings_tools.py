# SPDX-License-Identifier: Apache-2.0
"""Files of recorders that leave their own traces: telephones, older rosbag2, tools that rewrite MCAP."""

import shutil
import sqlite3
from fractions import Fraction

import av
import numpy as np
import pytest
import yaml
from mcap.writer import Writer as McapWriter
from recordings import IMAGE, STORE, K, camera, numbers, serialized, stamps, write_bag
from test_recordings_video import BEGIN, planes, rotated
from test_recordings_video import numbers as video_numbers

from monodvps_ros.data import open_source

SECOND = 1_000_000_000


def write_phone_video(path, codec, tag, ticks, timescale):
    """Write a video as telephones do: uneven times in the track's own units, sound beside it, B-frames."""
    options = {"video_track_timescale": str(timescale), "fflags": "+bitexact"}
    with av.open(str(path), "w", options=options) as output:
        quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
        stream = output.add_stream(codec, rate=30, options={"flags": "+bitexact", "bf": "2", **quiet})
        stream.width, stream.height, stream.pix_fmt, stream.codec_tag = 64, 48, "yuv420p", tag
        stream.time_base = stream.codec_context.time_base = Fraction(1, timescale)
        stream.thread_count = 1
        sound = output.add_stream("aac", rate=48_000, layout="mono")
        for number, time in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(planes(number, (64, 48), False), "yuv420p")
            frame.pts, frame.time_base = time, Fraction(1, timescale)
            output.mux(stream.encode(frame))
        for piece in range(12):
            heard = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            heard.sample_rate, heard.pts, heard.time_base = 48_000, 1024 * piece, Fraction(1, 48_000)
            output.mux(sound.encode(heard))
        output.mux(stream.encode())
        output.mux(sound.encode())
    return path


@pytest.mark.parametrize(
    ("name", "codec", "tag", "ticks", "timescale", "degrees"),
    [
        ("IMG_0001.MOV", "libx265", "hvc1", [0, 20, 41, 60, 80, 121, 140, 160], 600, 90),  # iOS, held upright
        ("IMG_0002.MOV", "libx264", "avc1", [0, 20, 40, 60, 80, 100], 600, 180),
        ("VID_20260101.mp4", "libx264", "avc1", [0, 2998, 6001, 9000, 12_500, 15_001], 90_000, 270),  # Android
        ("PXL_20260101.mp4", "libx265", "hev1", [0, 3000, 6000, 9000, 15_000, 18_000], 90_000, 0),
    ],
)
def test_a_video_of_a_telephone(tmp_path, name, codec, tag, ticks, timescale, degrees):
    path = write_phone_video(tmp_path / name, codec, tag, ticks, timescale)
    if degrees:
        rotated(path, degrees)
    source = open_source(path)
    samples = list(source)
    assert len(source) == len(samples) == len(ticks) and list(source.damage) == []
    seen = [np.rot90(sample.frame.image, round(degrees / 90)) for sample in samples]  # as the sensor saw it
    assert [round((int(image[-4, -4, 1]) - 20) / 20) for image in seen] == list(range(len(ticks)))
    assert samples[0].frame.size == ((64, 48) if degrees in {90, 270} else (48, 64))
    red, green, _ = seen[0][4, 4].astype(int)
    assert red > 180 and green < 80
    assert [sample.frame.stamp_ns - BEGIN for sample in samples] == [round(tick * SECOND / timescale) for tick in ticks]
    assert all(sample.frame.intrinsics is None for sample in samples)


def test_a_screen_recording_with_a_cover_picture(tmp_path):
    """The cover of an MP4 is a video stream as well; the larger one, that moves, is the video."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        cover = output.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt, cover.disposition = (
            128,
            96,
            "yuvj420p",
            av.stream.Disposition.attached_pic,
        )
        stream = output.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        output.mux(cover.encode(av.VideoFrame.from_ndarray(np.full((144, 128), 90, np.uint8), "yuvj420p")))
        for number in range(4):
            frame = av.VideoFrame.from_ndarray(planes(number, (64, 48), False), "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
        output.mux(cover.encode())
    assert video_numbers(open_source(path)) == [0, 1, 2, 3]


def check_whole(path, count=4):
    source = open_source(path)
    samples = list(source)
    assert numbers(samples) == list(range(count)) and len(source) == count
    assert [sample.frame.stamp_ns for sample in samples] == stamps(count)
    assert all(sample.frame.intrinsics.tolist() == K.tolist() for sample in samples)
    assert list(source.damage) == []


def write_foxy(path, found):
    """Write a storage file with the tables that rosbag2 had up to Humble: no definitions, no schema version."""
    with sqlite3.connect(path) as database:
        database.execute(
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, "
            "serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL)"
        )
        database.execute(
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL, "
            "data BLOB NOT NULL)"
        )
        database.execute("CREATE INDEX timestamp_idx ON messages (timestamp ASC)")
        ids = {}
        for topic, received, message in found:
            if topic not in ids:
                ids[topic] = len(ids) + 1
                database.execute(
                    "INSERT INTO topics VALUES (?, ?, ?, 'cdr', '')", (ids[topic], topic, message.__msgtype__)
                )
            database.execute(
                "INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)",
                (ids[topic], received, serialized(message)),
            )
    database.close()
    return path


@pytest.mark.parametrize("prefix", ["", "drive/"])  # the first distributions named files from the folder's parent
def test_recordings_of_foxy_in_two_files(tmp_path, prefix):
    folder = tmp_path / "drive"
    folder.mkdir()
    every = list(camera(stamps(4)))
    for part in range(2):
        write_foxy(folder / f"drive_{part}.db3", every[4 * part : 4 * part + 4])
    described = {"version": 4, "storage_identifier": "sqlite3", "message_count": 8,
                 "relative_file_paths": [f"{prefix}drive_{part}.db3" for part in range(2)],
                 "topics_with_message_count": [{"topic_metadata": {"name": IMAGE, "type": "sensor_msgs/msg/Image",
                                                                   "serialization_format": "cdr"}, "message_count": 4}],
                 "compression_format": "", "compression_mode": ""}  # fmt: skip
    (folder / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": described}))
    check_whole(folder)
    check_whole(write_foxy(tmp_path / "alone.db3", every))


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_split_files_that_are_compressed(tmp_path, storage):
    every, names = list(camera(stamps(4))), []
    (tmp_path / "drive").mkdir()
    for part in range(2):
        file = write_bag(tmp_path / f"part_{part}", every[4 * part : 4 * part + 4], storage, "FILE")
        names.append(f"drive_{part}{''.join(file.suffixes[-2:])}")
        shutil.move(file, tmp_path / "drive" / names[-1])
    described = yaml.safe_load((tmp_path / "part_0/metadata.yaml").read_text())
    described["rosbag2_bagfile_information"]["relative_file_paths"] = names
    (tmp_path / "drive/metadata.yaml").write_text(yaml.safe_dump(described))
    assert names[0].endswith(".zstd")
    check_whole(tmp_path / "drive")


def write_rewritten(path, found, profile="ros2", metadata=True, merged=False):
    """Write MCAP as rosbag2's plugin does, with its metadata; or as tools that merge: two channels for each topic."""
    with path.open("wb") as file:
        writer = McapWriter(file)
        writer.start(profile=profile, library="libmcap 1.4.0")
        if metadata:
            writer.add_metadata("rosbag2", {"ROS_DISTRO": "jazzy", "serialized_metadata": "version: 9"})
            writer.add_attachment(1, 1, "notes.txt", "text/plain", b"rain")
        channels = {}
        for number, (topic, received, message) in enumerate(found):
            key = topic, number * 2 // len(found) if merged else 0
            if key not in channels:
                text, _ = STORE.generate_msgdef(message.__msgtype__, ros_version=2)
                schema = writer.register_schema(message.__msgtype__, "ros2msg", text.encode())
                qos = {"offered_qos_profiles": "- history: keep_last", "topic_type_hash": "RIHS01_0"}
                channels[key] = writer.register_channel(topic, "cdr", schema, metadata=qos if metadata else {})
            writer.add_message(channels[key], received, serialized(message), message.header.stamp.nanosec, number)
        writer.finish()
    return path


@pytest.mark.parametrize("options", [{}, {"merged": True}, {"metadata": False, "profile": ""}], ids=str)
def test_mcap_of_rosbag2_and_of_tools_that_rewrite_it(tmp_path, options):
    check_whole(write_rewritten(tmp_path / "drive_0.mcap", list(camera(stamps(4))), **options))
