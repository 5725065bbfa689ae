# SPDX-License-Identifier: Apache-2.0
"""Reads the messages of a recording."""

import logging
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import zstandard

from monodvps_ros.data.bag.message_types import RecordedTypes
from monodvps_ros.data.bag.parts import Storage, merged
from monodvps_ros.data.bag.storage import ZSTD_MAGIC, open_file, promised, read_metadata, storage_files
from monodvps_ros.errors import DataError, counted, shortened

log = logging.getLogger(__name__)

#: A message that decompresses to more is damaged.
_MOST_MESSAGE_BYTES = 1 << 30
#: Packages whose types are read where a topic has messages of several types.
_PREFERRED = ("sensor_msgs/", "tf2_msgs/")


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic of a recording.

    Attributes:
        name: of the topic.
        type_name: such as ``sensor_msgs/msg/Image``.
        count: messages that can be read.
    """

    name: str
    type_name: str
    count: int


class BagReader:
    """The messages of a recording: a folder with or without ``metadata.yaml``, split or not, or one storage file.

    Files are merged by time of receipt. What rosbag2 compressed, by file or by message, is decompressed. Topics that
    are not of ROS 2 are passed over. Counts and indexes that the files carry are not relied upon.

    Args:
        path: the folder, or a ``.mcap`` or ``.db3`` file, ``.zstd`` behind it or not.

    Attributes:
        damage: what cannot be read, in sentences; grows while messages are read; empty for a whole recording.
        foreign: topics that are not of ROS 2, and their encoding.
        topics: those of ROS 2, by name. Of a topic with messages of several types one is read: a sensor's, else that
            of most messages.

    Raises:
        DataError: there is no recording, or nothing of it can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: list[str] = []
        self.foreign: dict[str, str] = {}
        self.topics: dict[str, Topic] = {}
        self._storages: list[Storage] = []
        self._stack = ExitStack()
        try:
            self._open()
        except DataError:
            self.close()
            raise
        except Exception as error:  # damage shows in many ways
            self.close()
            raise DataError(f"{path}: cannot be read as a recording: {shortened(str(error))}") from error

    def __enter__(self) -> "BagReader":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        self.close()

    def close(self) -> None:
        """Close the files; may be called again."""
        self._storages.clear()
        self._stack.close()

    def messages(self, topics: Collection[str] | None = None) -> Iterator[tuple[str, str, int, Any]]:
        """Read messages in the order of their receipt; goes on after one that cannot be read.

        Args:
            topics: names to read; None reads all.

        Yields:
            Topic, type name, time of receipt in nanoseconds, and the message: an object with the message's fields,
            whose number arrays are numpy arrays.

        Raises:
            DataError: no message on a topic can be read.
        """
        good: Counter[str] = Counter()
        bad: Counter[str] = Counter()
        first: dict[str, str] = {}
        for topic, type_name, received_ns, data in self.raw_messages(topics):
            try:
                message = self._types.store(type_name).deserialize_cdr(data, type_name)
            except Exception as error:  # rosbags' and numpy's: damage shows in many ways
                bad[topic] += 1
                first.setdefault(topic, f"{self.path}: message on {topic} received at {received_ns} ns cannot be read "
                                        f"as {type_name}: {error}")  # fmt: skip
                continue
            good[topic] += 1
            yield topic, type_name, received_ns, message
        for topic, number in bad.items():
            if not good[topic]:
                raise DataError(first[topic])
            self._report(f"{first[topic]} ({counted(number, 'such message')})")

    def raw_messages(self, topics: Collection[str] | None = None) -> Iterator[tuple[str, str, int, bytes]]:
        """Read messages in the order of their receipt, as they lie in the recording.

        Args:
            topics: names to read; None reads all.

        Yields:
            Topic, type name, time of receipt in nanoseconds, and the message's bytes (CDR).

        Raises:
            DataError: the files cannot be read any more.
        """
        wanted = set(self.topics if topics is None else topics)
        read: Counter[str] = Counter()
        try:
            for received_ns, channel, data in merged(p for s in self._storages for p in s.parts(wanted)):
                if channel.type_name != self.topics[channel.topic].type_name:
                    continue
                read[channel.topic] += 1
                yield channel.topic, channel.type_name, received_ns, _decompressed(data)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read further: {error}") from error
        for topic, expected in self._promised.items():
            if topic in wanted and read[topic] < expected:
                self._report(f"{self.path}: {read[topic]} of {counted(expected, 'message')} on {topic} can be read")

    def _open(self) -> None:
        metadata = read_metadata(self.path)
        refused: DataError | None = None
        for path in storage_files(self.path, metadata, self._report):
            try:
                storage = open_file(path, self._folder, self._report)
            except (DataError, OSError) as error:
                refused = error if isinstance(error, DataError) else DataError(f"{path}: {error.strerror or error}")
                self._report(str(refused))
                continue
            self._storages.append(storage)
            self._stack.callback(storage.close)
            self.foreign.update(storage.foreign)
        if refused is not None and not self._storages:
            raise refused
        self._types = RecordedTypes(channel for storage in self._storages for channel in storage.channels)
        self.topics = self._one_type_each()
        if "ros1" in self.foreign.values() and not self.topics:
            raise DataError(
                f"{self.path}: is a recording of ROS 1 in MCAP; convert the .bag that it was made of: "
                "rosbags-convert --src FILE.bag --dst FOLDER"
            )
        said = promised(metadata)
        self._promised = {
            name: max(topic.count, said.get((name, topic.type_name), 0)) for name, topic in self.topics.items()
        }

    def _one_type_each(self) -> dict[str, Topic]:
        """Choose the type that is read of each topic."""
        counts: Counter[tuple[str, str]] = Counter()
        kinds: dict[str, set[str]] = {}
        for storage in self._storages:
            counts.update(storage.counts)
            for channel in storage.channels:
                kinds.setdefault(channel.topic, set()).add(channel.type_name)
        topics = {}
        for name, found in kinds.items():
            kind = max(sorted(found), key=lambda kind: (kind.startswith(_PREFERRED), counts[name, kind]))
            topics[name] = Topic(name, kind, counts[name, kind])
            if len(found) > 1:
                log.warning(
                    "%s: %s has messages of %s; only %s is read", self.path, name, ", ".join(sorted(found)), kind
                )
        return topics

    def _folder(self) -> Path:
        return Path(self._stack.enter_context(TemporaryDirectory(prefix="monodvps_")))

    def _report(self, sentence: str) -> None:
        if sentence not in self.damage:
            log.warning("%s", sentence)
            self.damage.append(sentence)


def _decompressed(data: bytes) -> bytes:
    """Decompress a message that rosbag2 compressed; CDR begins otherwise. One that cannot be is left as it is."""
    if not data.startswith(ZSTD_MAGIC):
        return data
    try:
        return zstandard.ZstdDecompressor().stream_reader(data).read(_MOST_MESSAGE_BYTES)
    except zstandard.ZstdError:
        return data


def read_messages(path: Path, topics: Collection[str] | None = None) -> Iterator[tuple[str, str, int, Any]]:
    """Open a recording and read its messages, as `BagReader.messages` does.

    Raises:
        DataError: as `BagReader` says.
    """
    with BagReader(path) as reader:
        yield from reader.messages(topics)
