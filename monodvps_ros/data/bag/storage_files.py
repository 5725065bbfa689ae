# SPDX-License-Identifier: Apache-2.0
"""Writes the storage files of a recording, one after the other, and the metadata.yaml that describes them all."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin

from monodvps_ros.data.bag.mcap_chunks import ChunkWriter

_INFORMATION = "rosbag2_bagfile_information"


class StorageFiles:
    """The storage files of one recording.

    An MCAP file lies in the folder from its first byte on, so that the folder can be read while it is written and after
    its writer was killed; what the last chunk (1 MB) holds is not in the file yet. A sqlite3 file comes there when it
    is closed.

    Args:
        folder: to write to; exists, and is empty.
        name: of the first file, without suffix; later ones are NAME_1, NAME_2.
        plugin: storage.
        compressed: compress the chunks of MCAP files with zstd.
        split_bytes: begin another file when one is as large; 0: never.
    """

    def __init__(self, folder: Path, name: str, plugin: StoragePlugin, compressed: bool, split_bytes: int) -> None:
        self._folder, self._name, self._plugin = folder, name, plugin
        self._mode = CompressionMode.STORAGE if compressed and plugin is StoragePlugin.MCAP else CompressionMode.NONE
        self._split_bytes = split_bytes
        self._described: list[dict[str, Any]] = []
        self._begin()

    @property
    def is_full(self) -> bool:
        """Whether the current file has reached the size for a split."""
        return bool(self._split_bytes) and self._file.stat().st_size >= self._split_bytes

    def split(self) -> None:
        """Close the current file and begin the next; connections of the writer before are not valid any more."""
        self._finish()
        self._begin()

    def close(self) -> None:
        """Close the current file and write metadata.yaml."""
        self._finish()
        text = yaml.safe_dump({_INFORMATION: merged_metadata(self._described)}, sort_keys=False)
        (self._folder / "metadata.yaml").write_text(text, encoding="utf-8")

    def abort(self) -> None:
        """Close the current file as it is."""
        with suppress(Exception):  # an error is on its way already
            self.writer.abort()

    def _begin(self) -> None:
        number = len(self._described)
        stem = f"{self._name}_{number}" if number else self._name
        self.writer = ChunkWriter(self._folder / stem, version=9, storage_plugin=self._plugin)
        self.writer.set_compression(self._mode, CompressionFormat.ZSTD)
        self.writer.open()
        suffix = ".mcap" if self._plugin is StoragePlugin.MCAP else ".db3"
        self._file = self._folder / stem / f"{stem}{suffix}"
        if self._plugin is StoragePlugin.MCAP:
            self._put_in_place()

    def _finish(self) -> None:
        self.writer.close()
        if self._plugin is not StoragePlugin.MCAP:
            self._put_in_place()
        description = self.writer.path / "metadata.yaml"
        self._described.append(yaml.safe_load(description.read_text(encoding="utf-8"))[_INFORMATION])
        description.unlink()
        self.writer.path.rmdir()

    def _put_in_place(self) -> None:
        self._file = self._file.rename(self._folder / self._file.name)


def merged_metadata(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Describe files of one recording together, from what metadata.yaml says of each."""
    topics: dict[str, dict[str, Any]] = {}
    for part in parts:
        for topic in part["topics_with_message_count"]:
            known = topics.setdefault(topic["topic_metadata"]["name"], {**topic, "message_count": 0})
            known["message_count"] += topic["message_count"]
    merged = {
        **parts[0],
        "relative_file_paths": [name for part in parts for name in part["relative_file_paths"]],
        "message_count": sum(part["message_count"] for part in parts),
        "topics_with_message_count": list(topics.values()),
        "files": [file for part in parts for file in part["files"]],
    }
    filled = [part for part in parts if part["message_count"]]
    if filled:
        starts = [part["starting_time"]["nanoseconds_since_epoch"] for part in filled]
        ends = [start + part["duration"]["nanoseconds"] for start, part in zip(starts, filled, strict=True)]
        merged["starting_time"] = {"nanoseconds_since_epoch": min(starts)}
        merged["duration"] = {"nanoseconds": max(ends) - min(starts)}
    return merged
