# SPDX-License-Identifier: Apache-2.0
"""The files of a recording, whole or without their end."""

import logging
import sqlite3
from collections import Counter
from collections.abc import Collection, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import yaml
from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2.errors import ReaderError
from rosbags.rosbag2.storage_mcap import McapReader
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

from monodvps_ros.data.natural_order import natural_key
from monodvps_ros.errors import DataError

log = logging.getLogger(__name__)

SUFFIXES = (".mcap", ".db3")

_MCAP_MAGIC = b"\x89MCAP0\r\n"
_MCAP_DATA_OPCODES = {0x03, 0x04, 0x05, 0x06, 0x07, 0x09, 0x0C, *range(0x80, 0x100)}


def is_bag(path: Path) -> bool:
    """Say whether a path looks like a recording: a storage file, or a folder that holds one."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file() or any(entry.suffix in SUFFIXES for entry in path.iterdir())
    return path.suffix in SUFFIXES


class Storage(Protocol):
    """What is asked of one file of a recording."""

    connections: list[Connection]

    def close(self) -> None:
        """Close the file."""
        ...

    def messages(self, connections: Collection[Connection]) -> Generator[tuple[Connection, int, bytes], None, None]:
        """Give connection, time of receipt in nanoseconds and bytes of each message."""
        ...


class _Mcap(McapReader):
    """An MCAP file that may have no index, or no end."""

    def open_cut(self) -> int:
        """Open a file without its end and return how many bytes at its end are not read."""
        self.bio = self.path.open("rb")
        size = self.bio.seek(0, 2)
        self.bio.seek(0)
        if self.bio.read(len(_MCAP_MAGIC)) != _MCAP_MAGIC or self.bio.read(1) != b"\x01":
            raise ReaderError(f"{self.path} is {size} bytes long and does not begin like an MCAP file")
        end = self.data_start = 17 + int.from_bytes(self.bio.read(8), "little")
        while self.bio.seek(end) <= size:
            opcode, length = self.bio.read(1), int.from_bytes(self.bio.read(8), "little")
            if not opcode or opcode[0] not in _MCAP_DATA_OPCODES or end + 9 + length > size:
                break
            end += 9 + length
        self.data_end = end
        self.meta_scan()
        assert self.statistics
        counts = self.statistics.channel_message_counts
        self.connections = [c._replace(msgcount=counts.get(c.id, 0)) for c in self.connections]
        return size - end

    def messages(
        self, connections: Collection[Connection], start: int | None = None, stop: int | None = None
    ) -> Generator[tuple[Connection, int, bytes], None, None]:
        """Read messages; in the order of the file where there is no index."""
        yield from (super().messages if self.chunks else self.messages_scan)(connections, start, stop)


class _CutSqlite:
    """A sqlite3 file whose end is cut off or whose recorder was killed, read row by row until it breaks."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        self.connections = []
        try:
            # Without this, sqlite refuses a file with fewer pages than its header says.
            self._database.execute("PRAGMA writable_schema=ON")
            self.connections = self._topics()
            counts = Counter(connection.id for connection, _, _ in self.messages(self.connections))
        except BaseException:
            self._database.close()
            raise
        self.connections = [c._replace(msgcount=counts[c.id]) for c in self.connections]

    def close(self) -> None:
        self._database.close()

    def messages(self, connections: Collection[Connection]) -> Generator[tuple[Connection, int, bytes], None, None]:
        wanted = {connection.id: connection for connection in connections}
        with suppress(sqlite3.DatabaseError):  # here the end is missing; how much there is was said on opening
            for topic_id, received_ns, data in self._database.execute(
                "SELECT topic_id, timestamp, data FROM messages ORDER BY id"
            ):
                if topic_id in wanted:
                    yield wanted[topic_id], received_ns, data

    def _topics(self) -> list[Connection]:
        definitions = {}
        with suppress(sqlite3.OperationalError):  # recordings of older distributions hold no definitions
            for type_name, encoding, text in self._database.execute(
                "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            ):
                known = {"ros2msg": MessageDefinitionFormat.MSG, "ros2idl": MessageDefinitionFormat.IDL}
                definitions[type_name] = MessageDefinition(known[encoding], text)
        none = MessageDefinition(MessageDefinitionFormat.NONE, "")
        return [
            Connection(
                key, name, type_name, definitions.get(type_name, none), "", 0, ConnectionExtRosbag2(cdr, []), self
            )
            for key, name, type_name, cdr in self._database.execute(
                "SELECT id, name, type, serialization_format FROM topics"
            )
        ]


def is_compressed(metadata: dict[str, Any]) -> bool:
    """Say whether rosbag2 compressed the files or the messages of a recording one by one."""
    return bool(metadata.get("compression_mode", "").lower() not in {"", "none"})


def read_metadata(path: Path) -> dict[str, Any]:
    """Read ``metadata.yaml`` of a recording's folder; empty where there is none.

    Raises:
        DataError: it cannot be read.
    """
    file = path / "metadata.yaml"
    if not file.is_file():
        return {}
    try:
        return dict(yaml.safe_load(file.read_text(encoding="utf-8"))["rosbag2_bagfile_information"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as the description of a recording: {error}") from None


def storage_files(path: Path, metadata: dict[str, Any]) -> list[Path]:
    """List the storage files of a recording in their order.

    Raises:
        DataError: there are none, or ``metadata.yaml`` is damaged or names others.
    """
    if not path.exists():
        raise DataError(f"{path}: does not exist")
    if not path.is_dir():
        if path.suffix not in SUFFIXES:
            raise DataError(
                f"{path}: is no recording; expected a folder or a file that ends in {' or '.join(SUFFIXES)}"
            )
        return [path]
    named = metadata.get("relative_file_paths")
    if named is None:
        files = sorted((file for file in path.iterdir() if file.suffix in SUFFIXES), key=natural_key)
    else:
        files = [path / Path(name).name for name in named]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise DataError(f"{path}: metadata.yaml names files that are not there: {', '.join(missing)}")
    if not files:
        raise DataError(f"{path}: holds no recording; expected metadata.yaml or a file that ends in {SUFFIXES}")
    return files


def open_file(path: Path) -> tuple[Storage, str]:
    """Open a storage file; say what is missing of it, in words, or nothing.

    Raises:
        ReaderError: it cannot be read even in part (or `sqlite3.Error`).
    """
    wal = path.with_name(f"{path.name}-wal")
    if path.suffix == ".db3" and wal.is_file() and wal.stat().st_size:
        cut = _CutSqlite(path)
        return cut, f"{path}: was not closed; {_count(cut)} messages are read, those in its write-ahead log included"
    reader = _Mcap(path) if path.suffix == ".mcap" else Sqlite3Reader(path)
    try:
        reader.open()
        return reader, ""
    except Exception as error:  # what is missing shows in many ways; what cannot be read after all is raised below
        log.debug("%s: %s; trying to read it without its end", path, error)
    if path.suffix == ".db3":
        cut = _CutSqlite(path)
        return cut, f"{path}: its end is cut off; {_count(cut)} messages before it are read"
    mcap = _Mcap(path)
    lost = mcap.open_cut()
    what = f"its last {lost} bytes hold no whole record and" if lost else "its index is missing:"
    return mcap, f"{path}: its end is cut off; {what} {_count(mcap)} messages before it are read"


def _count(storage: Storage) -> int:
    return sum(connection.msgcount for connection in storage.connections)
