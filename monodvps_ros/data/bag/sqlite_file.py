# SPDX-License-Identifier: Apache-2.0
"""One sqlite3 file of a recording, whole, without its end, or of a recorder that was killed."""

import sqlite3
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path

from monodvps_ros.data.bag.parts import Channel, Entry, Part
from monodvps_ros.errors import DataError, counted

SQLITE_MAGIC = b"SQLite format 3\0"
_MOST_SKIPPED = 1 << 40


class SqliteFile:
    """A sqlite3 file, read row by row.

    Args:
        path: of the file.
        report: called with a sentence for each part that cannot be read.

    Raises:
        DataError: it is no sqlite3 file, or has no table of topics.
    """

    def __init__(self, path: Path, report: Callable[[str], None]) -> None:
        self._path, self._report = path, report
        with path.open("rb") as file:
            header = file.read(100)
        if not header.startswith(SQLITE_MAGIC):
            raise DataError(
                f"{path}: is {counted(path.stat().st_size, 'byte')} long and does not begin like a sqlite3 file"
            )
        wal = path.with_name(f"{path.name}-wal")
        self._has_log = wal.is_file() and wal.stat().st_size > 0
        # Immutable, so that a folder that cannot be written to is no hindrance; a log would be passed over then.
        mode = "mode=ro" if self._has_log else "immutable=1"
        self._database = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)
        self._database.text_factory = lambda text: text.decode(errors="replace")
        self.foreign: dict[str, str] = {}
        is_cut = self._broken = _is_cut(header, path.stat().st_size) and not self._has_log
        try:
            # Without this, sqlite refuses a file with fewer pages than its header says.
            self._database.execute("PRAGMA writable_schema=ON")
            self._by_id = self._topics()
            self._list_rows()
        except sqlite3.Error as error:
            self.close()
            copied = (
                "; was not closed: if its folder cannot be written to, copy it to one that can" if self._has_log else ""
            )
            raise DataError(f"{path}: cannot be read as a recording: {error}{copied}") from None
        except BaseException:
            self.close()
            raise
        self.channels = [channel for channel in self._by_id.values() if channel is not None]
        number = sum(self.counts.values())
        if self._has_log:
            are = counted(number, "message is", "messages are")
            report(f"{path}: was not closed; {are} read, those in its write-ahead log included")
        elif is_cut:
            report(
                f"{path}: its end is cut off; {counted(number, 'message before it is', 'messages before it are')} read"
            )
        elif self._broken:
            report(f"{path}: is damaged; {counted(number, 'message of it is', 'messages of it are')} read")

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def parts(self, topics: Collection[str]) -> list[Part]:
        """Give the whole file as one part."""
        return [Part(min(self._times, default=0), 0, lambda: self._read(topics))]

    def _topics(self) -> dict[int, Channel | None]:
        """Return the channel of each topic's id; None where it is not of ROS 2."""
        definitions = {}
        with suppress(sqlite3.DatabaseError):  # recordings of older distributions hold no definitions
            for type_name, encoding, text in self._database.execute(
                "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            ):
                definitions[type_name] = str(encoding), str(text)
        topics: dict[int, Channel | None] = {}
        for key, name, type_name, encoding in self._database.execute(
            "SELECT id, name, type, serialization_format FROM topics"
        ):
            if encoding == "cdr":
                topics[key] = Channel(str(name), str(type_name), *definitions.get(type_name, ("", "")))
            else:
                topics[key] = None
                self.foreign[str(name)] = str(encoding)
        return topics

    def _list_rows(self) -> None:
        """List the messages by their ids; no index is asked, for one may lack some of them."""
        self._ids, self._topic_ids, self._times = array("q"), array("q"), array("q")
        self.counts: Counter[tuple[str, str]] = Counter()
        for row in self._rows():
            is_whole = all(isinstance(value, int) for value in row) and row[1] in self._by_id
            if not is_whole or (self._broken and self._data(row[0]) is None):
                self._broken = True
                continue
            for values, value in zip((self._ids, self._topic_ids, self._times), row, strict=True):
                values.append(value)
            channel = self._by_id[row[1]]
            if channel is not None:
                self.counts[channel.topic, channel.type_name] += 1
        with suppress(sqlite3.DatabaseError):  # there is no such index
            (indexed,) = self._database.execute(
                "SELECT COUNT(timestamp) FROM messages INDEXED BY timestamp_idx"
            ).fetchone()
            self._broken |= indexed > len(self._ids)
        if self._ids and self._ids[-1] - self._ids[0] >= len(self._ids) and not self._broken:
            self._broken = self._database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",)

    def _rows(self) -> Iterator[tuple[int, int, int]]:
        """Give id, topic and time of each message; goes on behind what is damaged."""
        last, step = -1, 1
        while step < _MOST_SKIPPED:
            try:
                for row in self._database.execute(
                    "SELECT id, topic_id, timestamp FROM messages NOT INDEXED WHERE id > ? ORDER BY id", (last,)
                ):
                    if not isinstance(row[0], int) or row[0] <= last:
                        raise sqlite3.DatabaseError
                    last, step = row[0], 1
                    yield row
                return
            except sqlite3.DatabaseError:  # noqa: PERF203
                self._broken = True
                last, step = last + step, 2 * step

    def _data(self, key: int) -> bytes | None:
        with suppress(sqlite3.DatabaseError, TypeError):
            (data,) = self._database.execute("SELECT data FROM messages WHERE id = ?", (key,)).fetchone()
            return data if isinstance(data, bytes) else None
        return None

    def _read(self, topics: Collection[str]) -> Iterator[Entry]:
        missing: Counter[str] = Counter()
        for place in sorted(range(len(self._ids)), key=lambda place: (self._times[place], place)):
            channel = self._by_id[self._topic_ids[place]]
            if channel is None or channel.topic not in topics:
                continue
            data = self._data(self._ids[place])
            if data is None:
                missing[channel.topic] += 1
            else:
                yield self._times[place], channel, data
        for topic, number in missing.items():
            self._report(f"{self._path}: is damaged: {counted(number, 'message')} on {topic} cannot be read")


def _is_cut(header: bytes, size: int) -> bool:
    """Say whether the header of a sqlite3 file speaks of more pages than there are."""
    page = int.from_bytes(header[16:18], "big")
    pages = int.from_bytes(header[28:32], "big")
    is_valid = header[24:28] == header[92:96]  # older versions of sqlite do not keep the number of pages
    return is_valid and size < pages * (65536 if page == 1 else page)
