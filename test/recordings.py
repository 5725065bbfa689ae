# SPDX-License-Identifier: Apache-2.0
"""Writes small recordings of one camera as other tools write them; the pictures tell their own number."""

import struct

import numpy as np
from mcap.writer import CompressionType, IndexType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_KILTED)
_T = STORE.types
IMAGE, INFO = "/cam/image_raw", "/cam/camera_info"
SIZE = (16, 24)
K = np.array([[20.0, 0, 11.5], [0, 20.0, 7.5], [0, 0, 1]])
START = 1_700_000_000_000_000_000
STEP = 100_000_000


def picture(number):
    """An image whose every value is its number times ten."""
    return np.full((*SIZE, 3), number * 10, np.uint8)


def numbers(samples):
    """The numbers of the pictures of samples."""
    return [int(sample.frame.image[0, 0, 0]) // 10 for sample in samples]


def header(stamp_ns):
    return _T["std_msgs/msg/Header"](_T["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 1_000_000_000)), "cam")


def image(number, stamp_ns):
    rows, columns = SIZE
    data = picture(number).reshape(-1)
    return _T["sensor_msgs/msg/Image"](header(stamp_ns), rows, columns, "rgb8", 0, 3 * columns, data)


def camera_info(stamp_ns):
    projection = np.concatenate([K, np.zeros((3, 1))], 1).reshape(-1)
    region = _T["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    return _T["sensor_msgs/msg/CameraInfo"](
        header(stamp_ns),
        *SIZE,
        "plumb_bob",
        np.zeros(5),
        K.reshape(-1),
        np.eye(3).reshape(-1),
        projection,
        0,
        0,
        region,
    )


def serialized(message):
    return bytes(STORE.serialize_cdr(message, message.__msgtype__))


def camera(stamps, received=None):
    """Topic, time of receipt and message of images and their camera_info; received at their stamps by default."""
    for number, stamp in enumerate(stamps):
        at = stamp if received is None else received[number]
        yield INFO, at, camera_info(stamp)
        yield IMAGE, at, image(number, stamp)


def stamps(count, first=0):
    return [START + (first + number) * STEP for number in range(count)]


def write_bag(path, found, storage="mcap", compression=None):
    """Write a recording with rosbags; return its storage file."""
    plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
    writer = Writer(path, version=9, storage_plugin=plugin)
    if compression:
        writer.set_compression(CompressionMode[compression], CompressionFormat.ZSTD)
    with writer:
        connections = {}
        for topic, received, message in found:
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            writer.write(connections[topic], received, STORE.serialize_cdr(message, kind))
    return next(file for file in path.iterdir() if file.name != "metadata.yaml")


def write_mcap(
    path, found, foreign=(), profile="ros2", encoding="cdr", schema_encoding="ros2msg", short=False, **options
):
    """Write a file with the library of the format's own authors; a chunk holds one frame by default.

    `foreign` are messages of other encodings: (topic, encoding, time of receipt, bytes).
    """
    options = {"compression": CompressionType.NONE, "chunk_size": 1000, "index_types": IndexType.ALL, **options}
    with path.open("wb") as file:
        writer = McapWriter(file, **options)
        writer.start(profile=profile, library="test")
        channels = {}
        for topic, other, received, data in foreign:
            schema = writer.register_schema(f"name.of.{other}", other, b"\xff\xfe\x00")
            channels.setdefault(topic, writer.register_channel(topic, other, schema))
            writer.add_message(channels[topic], received, data, received)
        for topic, received, message in found:
            kind = message.__msgtype__
            if (topic, kind) not in channels:
                text, _ = STORE.generate_msgdef(kind, ros_version=2)
                name = kind.replace("/msg/", "/") if short else kind
                schema = writer.register_schema(name, schema_encoding, text.encode())
                channels[topic, kind] = writer.register_channel(topic, encoding, schema)
            writer.add_message(channels[topic, kind], received, serialized(message), received)
        writer.finish()
    return path


def mcap_records(data):
    """Give offset, opcode and bytes of each record, magic left out."""
    position = 8
    while position < len(data) - 8:
        opcode, length = struct.unpack_from("<BQ", data, position)
        yield position, opcode, data[position : position + 9 + length]
        position += 9 + length


def without_records(data, refused):
    """Return an MCAP file without the records of which `refused(number, opcode)` is true; its index is not mended."""
    kept = [record for number, (_, opcode, record) in enumerate(mcap_records(data)) if not refused(number, opcode)]
    return data[:8] + b"".join(kept) + data[-8:]
