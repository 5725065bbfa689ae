# SPDX-License-Identifier: Apache-2.0
"""Reads the messages of a recording."""

import logging
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.serde import SerdeError
from rosbags.typesys.base import TypesysError

from monodvps_ros.data.bag.message_types import recorded_types
from monodvps_ros.data.bag.storage import Storage, is_compressed, open_file, read_metadata, storage_files
from monodvps_ros.errors import DataError

log = logging.getLogger(__name__)


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

    Args:
        path: the folder, or a ``.mcap`` or ``.db3`` file.

    Attributes:
        damage: what could not be read, one sentence for each damaged file; empty for a whole recording.

    Raises:
        DataError: there is no recording, or it is damaged in another way than by a missing end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: list[str] = []
        self._storages: list[Storage] = []
        try:
            self._open()
            self._typestore = recorded_types(self._connections())
        except DataError:
            self.close()
            raise
        except Exception as error:  # damage shows in many ways
            self.close()
            raise DataError(f"{path}: cannot be read as a recording: {error}") from error

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
        while self._storages:
            self._storages.pop().close()

    @property
    def topics(self) -> dict[str, Topic]:
        """Topics by name."""
        counts: Counter[str] = Counter()
        for connection in self._connections():
            counts[connection.topic] += connection.msgcount
        return {c.topic: Topic(c.topic, c.msgtype, counts[c.topic]) for c in self._connections()}

    def messages(self, topics: Collection[str] | None = None) -> Iterator[tuple[str, str, int, Any]]:
        """Read messages in the order of the recording.

        Args:
            topics: names to read; None reads all.

        Yields:
            Topic, type name, time of receipt in nanoseconds, and the message: an object with the message's fields,
            whose number arrays are numpy arrays.

        Raises:
            DataError: a message cannot be read.
        """
        for topic, type_name, received_ns, data in self.raw_messages(topics):
            yield topic, type_name, received_ns, self._deserialize(topic, type_name, received_ns, data)

    def raw_messages(self, topics: Collection[str] | None = None) -> Iterator[tuple[str, str, int, bytes]]:
        """Read messages in the order of the recording, as they lie in it.

        Args:
            topics: names to read; None reads all.

        Yields:
            Topic, type name, time of receipt in nanoseconds, and the message's bytes (CDR).

        Raises:
            DataError: the recording is damaged here.
        """
        for storage in self._storages:
            wanted = [c for c in storage.connections if topics is None or c.topic in topics]
            if not wanted:
                continue
            try:
                for connection, received_ns, data in storage.messages(wanted):
                    yield connection.topic, connection.msgtype, received_ns, data
            except Exception as error:  # the storage's, the decompressor's, the database's: damage shows in many ways
                raise DataError(f"{self.path}: is damaged and cannot be read on: {error}") from error

    def _deserialize(self, topic: str, type_name: str, received_ns: int, data: bytes) -> Any:
        try:
            return self._typestore.deserialize_cdr(data, type_name)
        except (SerdeError, TypesysError, KeyError) as error:
            raise DataError(
                f"{self.path}: message on {topic} received at {received_ns} ns cannot be read as {type_name}: {error}"
            ) from None

    def _connections(self) -> Iterator[Connection]:
        for storage in self._storages:
            yield from storage.connections

    def _open(self) -> None:
        metadata = read_metadata(self.path)
        if is_compressed(metadata):
            reader = DirectoryReader(self.path)
            reader.open()
            self._storages.append(reader)
            return
        for path in storage_files(self.path, metadata):
            storage, damage = open_file(path)
            self._storages.append(storage)
            if damage:
                log.warning("%s", damage)
                self.damage.append(damage)


def read_messages(path: Path, topics: Collection[str] | None = None) -> Iterator[tuple[str, str, int, Any]]:
    """Open a recording and read its messages, as `BagReader.messages` does.

    Raises:
        DataError: as `BagReader` says.
    """
    with BagReader(path) as reader:
        yield from reader.messages(topics)
