# SPDX-License-Identifier: Apache-2.0
"""One MCAP file of a recording.

Neither its indexes nor its statistics are needed: the file is walked from record to record, and its chunks are scanned
where the indexes do not agree with one another. Source: the specification at https://mcap.dev/spec.
"""

import struct
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO
from zlib import crc32

import lz4.frame
import numpy as np
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.records import Channel as ChannelRecord
from mcap.records import ChunkIndex, Schema, Statistics

from monodvps_ros.data.bag.parts import Channel, Entry, Part
from monodvps_ros.errors import DataError, counted

MCAP_MAGIC = b"\x89MCAP0\r\n"
#: No writer makes chunks that are as large.
MOST_CHUNK_BYTES = 1 << 30

_PIECE_BYTES = 1 << 20
_RECORD = struct.Struct("<BQ")
_CHUNK = struct.Struct("<QQQI")
_MESSAGE = struct.Struct("<HIQQ")
_MESSAGE_INDEX = struct.Struct("<HI")
_FOOTER_BYTES = 9 + 20 + len(MCAP_MAGIC)
_OPCODES = {int(opcode) for opcode in Opcode} | set(range(0x80, 0x100))  # the latter are private, and skipped
#: Of the content of records, by opcode; of a chunk without its content.
_LEAST_BYTES: dict[int, int] = {
    Opcode.CHUNK: _CHUNK.size + 12,
    Opcode.MESSAGE_INDEX: _MESSAGE_INDEX.size,
    Opcode.MESSAGE: _MESSAGE.size,
}
_LATEST = 2**64 - 1
_DEFINITIONS = {"ros2msg": "ros2msg", "ros2idl": "ros2idl", "omgidl": "ros2idl", "": ""}


@dataclass(slots=True)
class _Chunk:
    """A chunk record: where its content begins, where it ends, and the time of its first message."""

    begin: int
    end: int
    start_ns: int
    uncompressed_bytes: int


@dataclass(slots=True)
class _Run:
    """Messages outside of chunks whose times do not go back."""

    begin: int
    end: int
    start_ns: int
    last_ns: int


class McapFile:
    """An MCAP file, with or without chunks, indexes, statistics or an end.

    Args:
        path: of the file.
        report: called with a sentence for each part that cannot be read.

    Raises:
        DataError: it does not begin like an MCAP file.
    """

    def __init__(self, path: Path, report: Callable[[str], None]) -> None:
        self._path, self._report = path, report
        self._file = path.open("rb")
        self._size = self._file.seek(0, 2)
        self._schemas: dict[int, Schema] = {}
        self._records: dict[int, ChannelRecord] = {}
        self._statistics: Statistics | None = None
        self._chunks: list[_Chunk] = []
        self._indexed: dict[int, int] = {}  # earliest time in the message indexes of a chunk, by its number
        self._runs: list[_Run] = []
        self._counted: Counter[int] = Counter()
        try:
            self._file.seek(0)
            if self._file.read(len(MCAP_MAGIC)) != MCAP_MAGIC:
                raise DataError(f"{path}: is {counted(self._size, 'byte')} long and does not begin like an MCAP file")
            cut = self._walk()
            if self._agrees():
                for number, time_ns in self._indexed.items():  # not what the chunk itself says
                    self._chunks[number].start_ns = time_ns
            else:
                self._scan()
        except BaseException:
            self.close()
            raise
        self._list_channels()
        self._compare(cut)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def parts(self, topics: Collection[str]) -> list[Part]:
        """List chunks, and runs of messages outside of them."""
        wanted = {key: channel for key, channel in self._by_id.items() if channel.topic in topics}
        chunks = [Part(c.start_ns, c.uncompressed_bytes, partial(self._read_chunk, c, wanted)) for c in self._chunks]
        return [*chunks, *(Part(run.start_ns, 0, partial(self._read_run, run, wanted)) for run in self._runs)]

    def _walk(self) -> str:
        """Go from record to record without reading what is in chunks; say in words how the file ends too early."""
        position, lost = len(MCAP_MAGIC), 0
        while position + _RECORD.size <= self._size:
            opcode, length = self._record_at(position)
            end = position + _RECORD.size + length
            if opcode == Opcode.FOOTER:
                behind = self._size - end - len(MCAP_MAGIC)
                if behind > 0:
                    unread = counted(behind, "byte behind its end is", "bytes behind its end are")
                    self._report(f"{self._path}: {unread} not read")
                return "" if behind >= 0 else f"its last {counted(-behind, 'byte is', 'bytes are')} missing"
            if opcode not in _OPCODES or end > self._size:
                going_on = self._resume(position)
                if going_on is None:
                    lost = self._size - position
                    break
                self._report(f"{self._path}: bytes {position} to {going_on} contain no complete record")
                end = going_on
            else:
                self._note(opcode, position, end)
            position = end
        contain = counted(lost, "byte contains", "bytes contain")
        return f"its last {contain} no complete record" if lost else "its index is missing"

    def _note(self, opcode: int, position: int, end: int) -> None:
        """Take what is needed of the record at the file's place."""
        try:
            if end - position < _RECORD.size + _LEAST_BYTES.get(opcode, 0):
                raise ValueError("it is too short")
            if opcode == Opcode.CHUNK:
                start_ns, _, size, _ = _CHUNK.unpack(self._file.read(_CHUNK.size))
                self._chunks.append(_Chunk(position + _RECORD.size, end, start_ns, min(size, MOST_CHUNK_BYTES)))
            elif opcode == Opcode.MESSAGE_INDEX:
                channel, size = _MESSAGE_INDEX.unpack(self._file.read(_MESSAGE_INDEX.size))
                self._counted[channel] += size // 16
                times = np.frombuffer(self._file.read(end - self._file.tell()), "<u8")[::2]
                chunk = len(self._chunks) - 1
                self._indexed[chunk] = min(self._indexed.get(chunk, _LATEST), int(times.min(initial=_LATEST)))
            elif opcode == Opcode.MESSAGE:
                channel, _, time_ns, _ = _MESSAGE.unpack(self._file.read(_MESSAGE.size))
                self._counted[channel] += 1
                if not self._runs or self._runs[-1].end != position or self._runs[-1].last_ns > time_ns:
                    self._runs.append(_Run(position, end, time_ns, time_ns))
                self._runs[-1].end, self._runs[-1].last_ns = end, time_ns
            elif opcode in {Opcode.SCHEMA, Opcode.CHANNEL, Opcode.STATISTICS}:
                self._define(opcode, self._file.read(end - position - _RECORD.size))
        except Exception as error:  # damage shows in many ways
            self._report(f"{self._path}: record at byte {position} cannot be read: {error}")

    def _define(self, opcode: int, content: bytes) -> None:
        stream = ReadDataStream(BytesIO(content))
        if opcode == Opcode.SCHEMA:
            schema = Schema.read(stream)
            self._schemas.setdefault(schema.id, schema)
        elif opcode == Opcode.CHANNEL:
            record = ChannelRecord.read(stream)
            self._records.setdefault(record.id, record)
        elif opcode == Opcode.STATISTICS:
            self._statistics = Statistics.read(stream)

    def _resume(self, position: int) -> int | None:
        """Find where records go on after damage: at the next chunk that the summary names, or at the summary."""
        with suppress(Exception):  # there is no summary, or it is damaged too
            opcode, _ = self._record_at(self._size - _FOOTER_BYTES)
            summary = place = int.from_bytes(self._file.read(8), "little")
            found = [summary]
            while opcode == Opcode.FOOTER and place < self._size - _FOOTER_BYTES:
                kind, length = self._record_at(place)
                if kind == Opcode.CHUNK_INDEX:
                    found.append(ChunkIndex.read(ReadDataStream(BytesIO(self._file.read(length)))).chunk_start_offset)
                place += _RECORD.size + length
            return min(place for place in found if place > position and place < self._size)
        return None

    def _record_at(self, position: int) -> tuple[int, int]:
        """Read opcode and length; the content begins at the file's place then."""
        self._file.seek(position)
        opcode, length = _RECORD.unpack(self._file.read(_RECORD.size))
        return opcode, length

    def _agrees(self) -> bool:
        """Say whether the indexes know each chunk, channel and schema, and agree with the statistics."""
        said = None if self._statistics is None else self._statistics.channel_message_counts
        schemas = {0, *self._schemas}
        return not self._chunks or (
            len(self._indexed) == len(self._chunks)
            and said is not None
            and +Counter(said) == +self._counted
            and self._counted.keys() <= self._records.keys()
            and all(record.schema_id in schemas for record in self._records.values())
        )

    def _scan(self) -> None:
        """Count what is in the chunks, and take the definitions and the times out of them."""
        counted: Counter[int] = Counter()
        for run in self._runs:
            counted.update(channel for channel, _, _ in self._messages_in(run))
        for chunk in self._chunks:
            found = [(channel, time_ns) for channel, time_ns, _ in self._messages_of(chunk)]
            counted.update(channel for channel, _ in found)
            chunk.start_ns = min((time_ns for _, time_ns in found), default=chunk.start_ns)
        self._counted = counted

    def _list_channels(self) -> None:
        self._by_id: dict[int, Channel] = {}
        self.foreign: dict[str, str] = {}
        for key, record in self._records.items():
            schema = self._schemas.get(record.schema_id)
            if record.message_encoding != "cdr" or schema is None or schema.encoding not in _DEFINITIONS:
                self.foreign[record.topic] = record.message_encoding or "without an encoding"
                continue
            parts = schema.name.split("/")
            name = "/msg/".join(parts) if len(parts) == 2 else schema.name
            text = schema.data.decode(errors="replace")
            self._by_id[key] = Channel(record.topic, name, _DEFINITIONS[schema.encoding], text)
        self.channels = list(self._by_id.values())
        self.counts: Counter[tuple[str, str]] = Counter()
        for key, channel in self._by_id.items():
            self.counts[channel.topic, channel.type_name] += self._counted[key]

    def _compare(self, cut: str) -> None:
        """Tell what the file lacks of what it says it has."""
        if cut:
            before = counted(sum(self.counts.values()), "message before it is", "messages before it are")
            self._report(f"{self._path}: its end is cut off; {cut}: {before} read")
        unknown = sum(count for key, count in self._counted.items() if key not in self._records)
        if unknown:
            belong = counted(unknown, "message belongs", "messages belong")
            self._report(f"{self._path}: {belong} to channels that the file does not define")
        said = {} if self._statistics is None else self._statistics.channel_message_counts
        for key, channel in self._by_id.items():
            if said.get(key, 0) > self._counted[key]:
                self._report(
                    f"{self._path}: its statistics say {counted(said[key], 'message')} on {channel.topic}, "
                    f"{counted(self._counted[key], 'is', 'are')} there"
                )

    def _read_chunk(self, chunk: _Chunk, wanted: dict[int, Channel]) -> Iterator[Entry]:
        found = [entry for entry in self._messages_of(chunk) if entry[0] in wanted]
        for key, time_ns, data in sorted(found, key=lambda entry: entry[1]):
            yield time_ns, wanted[key], bytes(data)

    def _read_run(self, run: _Run, wanted: dict[int, Channel]) -> Iterator[Entry]:
        return ((time_ns, wanted[key], data) for key, time_ns, data in self._messages_in(run) if key in wanted)

    def _messages_in(self, run: _Run) -> Iterator[tuple[int, int, bytes]]:
        position = run.begin
        while position < run.end:
            _, length = self._record_at(position)
            content = self._file.read(length)
            key, _, time_ns, _ = _MESSAGE.unpack_from(content)
            yield key, time_ns, content[_MESSAGE.size :]
            position += _RECORD.size + length

    def _messages_of(self, chunk: _Chunk) -> Iterator[tuple[int, int, memoryview]]:
        """Give channel, time and bytes of the messages of a chunk, as far as it can be read."""
        number = 0
        try:
            for opcode, content in self._records_of(chunk):
                if opcode == Opcode.MESSAGE:
                    key, _, time_ns, _ = _MESSAGE.unpack_from(content)
                    yield key, time_ns, content[_MESSAGE.size :]
                    number += 1
                elif opcode in {Opcode.SCHEMA, Opcode.CHANNEL}:
                    self._define(opcode, bytes(content))
        except Exception as error:  # the decompressor's, a text's, a number's: damage shows in many ways
            self._report(
                f"{self._path}: is damaged in the chunk at byte {chunk.begin}: {error}; "
                f"{counted(number, 'message of it is', 'messages of it are')} read"
            )

    def _records_of(self, chunk: _Chunk) -> Iterator[tuple[int, memoryview]]:
        self._file.seek(chunk.begin)
        *_, checksum = _CHUNK.unpack(self._file.read(_CHUNK.size))
        compression = self._file.read(min(int.from_bytes(self._file.read(4), "little"), 64)).decode()
        self._file.seek(8, 1)  # the content's length, which the record's says as well
        compressed = self._file.read(max(0, chunk.end - self._file.tell()))
        content, trouble = _decompressed(compression, compressed)
        if checksum and crc32(content) != checksum:  # what is in it may be anything
            raise ValueError(trouble or "its checksum does not match")
        view, position = memoryview(content), 0
        while position < len(view):
            opcode, length = _RECORD.unpack_from(view, position)
            position += _RECORD.size + length
            if position > len(view):
                raise ValueError(trouble or "its last record is cut off")
            yield opcode, view[position - length : position]
        if trouble:
            raise ValueError(trouble)


def _decompressed(compression: str, data: bytes) -> tuple[bytes, str]:
    """Decompress as far as it goes; say what ended it too early."""
    openers: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
        "lz4": lz4.frame.LZ4FrameFile,
        "zstd": lambda file: zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True),
    }
    if not compression:
        return data, ""
    if compression not in openers:
        return b"", f"compression '{compression}' is not known"
    pieces, size, trouble = [], 0, ""
    try:
        reader = openers[compression](BytesIO(data))
        while not trouble and (piece := reader.read(_PIECE_BYTES)):
            pieces.append(piece)
            size += len(piece)
            trouble = f"it is larger than {MOST_CHUNK_BYTES} bytes" if size > MOST_CHUNK_BYTES else ""
    except (zstandard.ZstdError, RuntimeError, EOFError, OSError) as error:
        trouble = str(error)
    return b"".join(pieces), trouble
