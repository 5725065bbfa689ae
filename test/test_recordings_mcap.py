# SPDX-License-Identifier: Apache-2.0
"""MCAP files as others write them: what is read is what a file holds, whatever its indexes and counts say."""

import struct

import pytest
from mcap.writer import CompressionType, IndexType, Writer
from recordings import (
    IMAGE,
    INFO,
    START,
    STEP,
    K,
    camera,
    header,
    image,
    mcap_records,
    numbers,
    serialized,
    stamps,
    without_records,
    write_bag,
    write_mcap,
)

from monodvps_ros.data import open_source
from monodvps_ros.data.bag import BagReader, parts
from monodvps_ros.errors import DataError

MESSAGE, CHUNK, MESSAGE_INDEX, STATISTICS = 0x05, 0x06, 0x07, 0x0B


def check_whole(path, count=5):
    source = open_source(path)
    assert len(source) == count
    samples = list(source)
    assert numbers(samples) == list(range(count))
    assert [sample.frame.stamp_ns for sample in samples] == stamps(count)
    assert all(sample.frame.intrinsics.tolist() == K.tolist() for sample in samples)
    assert list(source.damage) == []


@pytest.mark.parametrize("compression", [CompressionType.NONE, CompressionType.LZ4, CompressionType.ZSTD])
@pytest.mark.parametrize("chunk_size", [100, 5000, 1 << 20])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"profile": ""},
        {"index_types": IndexType.CHUNK},
        {"index_types": IndexType.MESSAGE},
        {"index_types": IndexType.NONE},
        {"repeat_schemas": False},
        {"short": True},
        {"repeat_channels": False, "repeat_schemas": False},
        {"use_statistics": False},
        {"use_chunking": False},
        {"use_statistics": False, "index_types": IndexType.NONE, "repeat_channels": False, "repeat_schemas": False,
         "use_summary_offsets": False},
        {"use_chunking": False, "use_statistics": False, "repeat_channels": False, "repeat_schemas": False},
    ],
    ids=str,
)  # fmt: skip
def test_a_file_gives_the_same_frames_whatever_it_says_of_itself(tmp_path, compression, chunk_size, options):
    path = write_mcap(
        tmp_path / "drive.mcap", camera(stamps(5)), compression=compression, chunk_size=chunk_size, **options
    )
    check_whole(path)


@pytest.mark.parametrize("half", [0, 1])
def test_half_of_the_message_indexes(tmp_path, half):
    path = write_mcap(tmp_path / "drive.mcap", camera(stamps(5)))
    data = path.read_bytes()
    assert sum(opcode == MESSAGE_INDEX for _, opcode, _ in mcap_records(data)) > 4
    path.write_bytes(without_records(data, lambda number, opcode: opcode == MESSAGE_INDEX and number % 2 == half))
    check_whole(path)


def test_statistics_that_say_too_little_cost_nothing(tmp_path):
    path = write_mcap(tmp_path / "drive.mcap", camera(stamps(5)))
    set_statistics(path, 1)
    check_whole(path)


def test_statistics_that_say_more_than_there_is_are_told(tmp_path):
    path = write_mcap(tmp_path / "drive.mcap", camera(stamps(5)))
    set_statistics(path, 9)
    source = open_source(path)
    assert (len(source), numbers(source)) == (5, [0, 1, 2, 3, 4])
    assert any(f"its statistics say 9 messages on {IMAGE}, 5 are there" in sentence for sentence in source.damage)


def set_statistics(path, count):
    """Let the statistics say another number of messages for each channel."""
    data = bytearray(path.read_bytes())
    ((offset, _, record),) = [entry for entry in mcap_records(bytes(data)) if entry[1] == STATISTICS]
    begin = offset + 9 + 46  # behind the fixed part; each entry is a uint16 and a uint64
    for place in range(begin, offset + len(record), 10):
        struct.pack_into("<Q", data, place + 2, count)
    path.write_bytes(data)


def test_other_encodings_do_not_matter(tmp_path):
    foreign = [("/proto", "protobuf", START, b"\x08\x01"), ("/json", "json", START, b"{}")]
    path = write_mcap(tmp_path / "drive.mcap", camera(stamps(5)), foreign)
    check_whole(path)
    with BagReader(path) as reader:
        assert reader.topics.keys() == {IMAGE, INFO}
        assert reader.foreign == {"/proto": "protobuf", "/json": "json"}


def test_a_standard_type_is_known_whatever_its_definition_says(tmp_path):
    path = write_mcap(tmp_path / "drive.mcap", camera(stamps(5)), enable_crcs=False)
    path.write_bytes(path.read_bytes().replace(b"uint32 binning_x", b"?!nt32 binning_x"))
    check_whole(path)


def test_a_definition_that_cannot_be_read_concerns_its_own_topic(tmp_path):
    path = write_mcap(tmp_path / "drive.mcap", camera(stamps(5)), enable_crcs=False)
    path.write_bytes(path.read_bytes().replace(b"sensor_msgs/msg/CameraInfo", b"sensor_msgs/msg/CameraJnfo"))
    assert numbers(open_source(path)) == [0, 1, 2, 3, 4]
    path.write_bytes(path.read_bytes().replace(b"uint32 binning_x", b"?!nt32 binning_x"))
    with BagReader(path) as reader:
        assert len(list(reader.messages([IMAGE]))) == 5
        with pytest.raises(DataError, match=rf"message on {INFO} .*cannot be read as sensor_msgs/msg/CameraJnfo"):
            list(reader.messages([INFO]))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("topic", [IMAGE, INFO])
def test_messages_of_another_type_on_a_topic_of_the_camera_do_not_matter(tmp_path, caplog, topic, first):
    found = list(camera(stamps(5)))
    others = [(topic, received, header(received)) for _, received, _ in found]  # more than there are images
    path = write_mcap(tmp_path / "drive.mcap", others + found if first else found + others)
    check_whole(path)
    assert f"{topic} has messages of " in caplog.text and "std_msgs/msg/Header" in caplog.text
    with BagReader(path) as reader:
        assert {name: entry.count for name, entry in reader.topics.items()} == {IMAGE: 5, INFO: 5}


_IDL = """module my_msgs { module msg {
  struct Thing { std_msgs::msg::Header header; int32 number; sequence<double> values; };
}; };
"""
_OTHER = (
    "=" * 80 + "\nIDL: std_msgs/msg/Header\nmodule std_msgs { module msg { struct Header { "
    "builtin_interfaces::msg::Time stamp; string frame_id; }; }; };\n"
)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("ros2msg", "std_msgs/Header header\nint32 number\nfloat64[] values\n"),
        ("omgidl", _IDL),
        ("ros2idl", "=" * 80 + "\nIDL: my_msgs/msg/Thing\n" + _IDL + _OTHER),
    ],
)
def test_a_type_of_another_package_is_read_by_its_definition(tmp_path, encoding, text):
    at, path = START, tmp_path / "drive.mcap"
    data = bytes([0, 1, 0, 0]) + struct.pack("<iII4si", 7, 8, 4, b"cam\0", 5) + struct.pack("<Id", 1, 2.5)
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start(profile="ros2")
        schema = writer.register_schema("my_msgs/msg/Thing", encoding, text.encode())
        writer.add_message(writer.register_channel("/thing", "cdr", schema), at, data, at)
        writer.finish()
    with BagReader(path) as reader:
        ((topic, kind, received, thing),) = reader.messages()
    assert (topic, kind, received) == ("/thing", "my_msgs/msg/Thing", START)
    assert (thing.header.stamp.sec, thing.header.frame_id, thing.number, list(thing.values)) == (7, "cam", 5, [2.5])


def test_foreign_topics_are_named_where_there_is_no_camera(tmp_path):
    path = write_mcap(tmp_path / "drive.mcap", [], [("/points", "protobuf", START, b"\x08\x01")])
    with pytest.raises(DataError, match=r"contains no camera images .*/points \(protobuf, not of ROS 2\)"):
        open_source(path)


def test_a_recording_of_ros_1_is_named_as_such(tmp_path):
    path = write_mcap(
        tmp_path / "old.mcap", camera(stamps(2)), profile="ros1", encoding="ros1", schema_encoding="ros1msg"
    )
    with pytest.raises(DataError, match=r"is a recording of ROS 1 in MCAP; .*rosbags-convert --src FILE\.bag"):
        open_source(path)


@pytest.mark.parametrize("share", [0.35, 0.6, 0.9])
def test_without_its_end_all_before_it_is_read(tmp_path, share):
    path = write_mcap(tmp_path / "drive.mcap", camera(stamps(8)))
    data = path.read_bytes()
    cut = int(len(data) * share)
    whole = [offset + len(record) for offset, opcode, record in mcap_records(data) if opcode == CHUNK]
    path.write_bytes(data[:cut])
    source = open_source(path)
    frames = len([end for end in whole if end <= cut])
    assert "its end is cut off" in source.damage[0]
    assert numbers(source) == list(range(len(source)))
    assert frames - 2 <= len(source) <= frames  # the chunk of a frame may hold the camera_info of the next


def test_a_damaged_chunk_costs_its_own_frames(tmp_path):
    path = write_mcap(tmp_path / "drive.mcap", camera(stamps(6)), compression=CompressionType.ZSTD)
    data = bytearray(path.read_bytes())
    middle = [entry for entry in mcap_records(bytes(data)) if entry[1] == CHUNK][3]
    struct.pack_into("<Q", data, middle[0] + 9 + 60, 0)
    path.write_bytes(data)
    source = open_source(path)
    found = numbers(source)
    assert 4 <= len(found) < 6 and found == sorted(found) and found[0] == 0 and found[-1] == 5
    assert any("is damaged in the chunk at byte" in sentence for sentence in source.damage)
    assert any(f"{len(found)} of 6 messages on {IMAGE} can be read" in sentence for sentence in source.damage)


def test_a_record_whose_length_is_wrong_costs_what_is_up_to_the_next_chunk(tmp_path):
    path = write_mcap(tmp_path / "drive.mcap", camera(stamps(6)))
    data = bytearray(path.read_bytes())
    middle = [entry for entry in mcap_records(bytes(data)) if entry[1] == CHUNK][3]
    struct.pack_into("<Q", data, middle[0] + 1, 1 << 60)
    path.write_bytes(data)
    source = open_source(path)
    found = numbers(source)
    assert len(found) == 5 and found[-1] == 5
    assert any("contain no complete record" in sentence for sentence in source.damage)


@pytest.mark.parametrize("options", [{"use_chunking": False}, {"enable_crcs": False}], ids=str)
@pytest.mark.parametrize("length", [0, 5, 21])
def test_records_that_are_too_short_are_told(tmp_path, options, length):
    path = write_mcap(tmp_path / "drive.mcap", camera(stamps(4)), **options)
    data = path.read_bytes()
    records = list(mcap_records(data))
    kind = CHUNK if "enable_crcs" in options else MESSAGE
    offset, _, record = [entry for entry in records if entry[1] == kind][3]
    short = struct.pack("<BQ", kind, length) + bytes(length)
    path.write_bytes(data[:offset] + short + data[offset + len(record) :])
    source = open_source(path)
    assert len(numbers(source)) == 3
    assert any(f"record at byte {offset} cannot be read: it is too short" in sentence for sentence in source.damage)


def test_a_second_file_behind_the_first_is_told(tmp_path):
    path = write_mcap(tmp_path / "drive.mcap", camera(stamps(3)))
    data = path.read_bytes()
    path.write_bytes(data + data)
    source = open_source(path)
    assert numbers(source) == [0, 1, 2]
    assert source.damage == (f"{path}: {len(data)} bytes behind its end are not read",)
    path.write_bytes(data[:-3])
    assert numbers(open_source(path)) == [0, 1, 2] and "its last 3 bytes are missing" in open_source(path).damage[0]


def test_chunks_that_overlap_in_time_are_merged(tmp_path):
    order = [0, 3, 1, 4, 2, 5]
    found = [(IMAGE, START + number * STEP, image(number, START + number * STEP)) for number in order]
    for options in ({}, {"index_types": IndexType.NONE}, {"use_chunking": False}):
        assert numbers(open_source(write_mcap(tmp_path / "drive.mcap", found, **options))) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("index_types", [IndexType.ALL, IndexType.NONE])
@pytest.mark.parametrize("claimed", [0, START + 2 * STEP, START + 99 * STEP, 2**64 - 1])
def test_times_that_a_chunk_claims_do_not_matter(tmp_path, index_types, claimed):
    path = write_mcap(tmp_path / "drive.mcap", camera(stamps(5)), index_types=index_types)
    data = bytearray(path.read_bytes())
    chunks = [offset for offset, opcode, _ in mcap_records(bytes(data)) if opcode == CHUNK]
    struct.pack_into("<QQ", data, chunks[1] + 9, claimed, claimed)
    path.write_bytes(data)
    check_whole(path)


@pytest.mark.parametrize("chunk_size", [1000, 5000, 1 << 20])
@pytest.mark.parametrize("options", [{}, {"index_types": IndexType.NONE}, {"use_chunking": False}], ids=str)
@pytest.mark.parametrize("received", [[0] * 12, [START + number // 5 * 10**9 for number in range(12)]])
def test_messages_of_one_time_of_receipt_keep_their_order(tmp_path, chunk_size, options, received):
    path = write_mcap(tmp_path / "drive.mcap", camera(stamps(12), received), chunk_size=chunk_size, **options)
    check_whole(path, 12)


def test_few_parts_are_held_at_once_even_where_all_say_the_same_time(monkeypatch):
    held, most = set(), []

    def part(number):
        def read():
            held.add(number)
            most.append(len(held))
            yield number, None, b""
            held.discard(number)

        return parts.Part(0, 10, read)

    monkeypatch.setattr(parts, "MOST_HELD_BYTES", 35)
    assert [entry[0] for entry in parts.merged(part(number) for number in range(50))] == list(range(50))
    assert max(most) == 4


@pytest.mark.parametrize("field", ["size", "compression"])
def test_a_chunk_that_lies_about_itself(tmp_path, field):
    path = write_mcap(tmp_path / "drive.mcap", camera(stamps(3)), compression=CompressionType.ZSTD)
    data = bytearray(path.read_bytes())
    for offset, opcode, _ in list(mcap_records(bytes(data))):
        if opcode == CHUNK and field == "size":
            struct.pack_into("<Q", data, offset + 9 + 16, 1 << 61)
        elif opcode == CHUNK:
            data[offset + 9 + 32 : offset + 9 + 36] = b"zztd"
    path.write_bytes(data)
    if field == "size":
        check_whole(path, 3)
    else:
        with pytest.raises(DataError, match="contains no camera images"):
            open_source(path)


def test_rosbags_own_files_are_read_without_their_index(tmp_path):
    file = write_bag(tmp_path / "bag", camera(stamps(5)))
    data = file.read_bytes()
    file.write_bytes(without_records(data, lambda _, opcode: opcode in {MESSAGE_INDEX, STATISTICS, 0x08}))
    check_whole(tmp_path / "bag")


def test_raw_messages_are_those_of_the_file(tmp_path):
    found = [(IMAGE, stamp, image(number, stamp)) for number, stamp in enumerate(stamps(3))]
    with BagReader(write_mcap(tmp_path / "drive.mcap", found)) as reader:
        assert [(topic, at, data) for topic, _, at, data in reader.raw_messages()] == [
            (topic, at, serialized(message)) for topic, at, message in found
        ]
