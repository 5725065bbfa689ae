# SPDX-License-Identifier: Apache-2.0
"""The files of a recording: which they are, and what opens them."""

import logging
import re
from collections.abc import Callable, Container
from pathlib import Path, PureWindowsPath
from typing import Any

import zstandard

from monodvps_ros.data.bag.mcap_file import MCAP_MAGIC, McapFile
from monodvps_ros.data.bag.parts import Storage
from monodvps_ros.data.bag.sqlite_file import SQLITE_MAGIC, SqliteFile
from monodvps_ros.data.listing import entries, list_folder
from monodvps_ros.errors import DataError
from monodvps_ros.files import read_yaml

log = logging.getLogger(__name__)

SUFFIXES = (".mcap", ".db3")
#: What rosbag2 puts behind the name of a file that it compressed as a whole.
COMPRESSED = ".zstd"
_ROS1 = ".bag"
_ENDINGS = (*SUFFIXES, *(suffix + COMPRESSED for suffix in SUFFIXES))
_PART = ".part"
ZSTD_MAGIC, _ROSBAG = b"\x28\xb5\x2f\xfd", b"#ROSBAG"
#: What files with the name of a recording may be instead, by their beginning.
_NO_STORAGE = {
    b"version https://git-lfs": "a pointer of Git LFS, not the recording; fetch it with `git lfs pull`",
    b"\x1f\x8b": "compressed with gzip; decompress it with `gunzip`",
    b"PK\3\4": "a ZIP archive; unpack it",
}
_PIECE_BYTES = 1 << 20


def is_bag(path: Path) -> bool:
    """Return whether a path looks like a recording: a storage file or a folder with one, also of ROS 1."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file() or any(map(_is_storage, entries(path)))
    return _is_storage(path)


def sequence_name(path: Path) -> str:
    """Name a recording after its folder or file."""
    name = path.resolve().name
    return next((name[: -len(ending)] for ending in reversed(_ENDINGS) if name.lower().endswith(ending)), name)


def part_name(sequence: str, part: int) -> str:
    """Name a part of a sequence that stamps which jump back divide; the first keeps its name."""
    return f"{sequence}{_PART}{part + 1}" if part else sequence


def whole_sequence(name: str) -> str:
    """Return the name of a sequence without the part that `part_name` puts behind it."""
    sequence, _, number = name.rpartition(_PART)
    return sequence if sequence and number.isdecimal() else name


def recording_of(sequence: str, bags: Container[str]) -> tuple[str, int]:
    """Return the name of the recording, one of `bags`, that a sequence comes from, and the part, 0 for the first."""
    name, _, number = sequence.rpartition(_PART)
    if sequence in bags or not (name and number.isdecimal()):
        return sequence, 0
    return name, int(number) - 1


def read_metadata(path: Path) -> dict[str, Any]:
    """Read ``metadata.yaml`` of a recording's folder; empty where there is none.

    Raises:
        DataError: it cannot be read.
    """
    file = path / "metadata.yaml"
    if not file.is_file():
        return {}
    if not file.stat().st_size:
        log.warning("%s: is empty (the recorder was killed?); the storage files are read without it", file)
        return {}
    try:
        return dict(read_yaml(file)["rosbag2_bagfile_information"])
    except (KeyError, TypeError, AttributeError):
        raise DataError(f"{file}: does not describe a recording; remove it, and the storage files are read") from None


def promised(metadata: dict[str, Any]) -> dict[tuple[str, str], int]:
    """Return how many messages of each topic and type ``metadata.yaml`` promises; empty where it does not say."""
    try:
        return {
            (str(topic["topic_metadata"]["name"]), str(topic["topic_metadata"]["type"])): int(topic["message_count"])
            for topic in metadata.get("topics_with_message_count") or []
        }
    except (KeyError, TypeError, ValueError):
        return {}


def storage_files(path: Path, metadata: dict[str, Any], report: Callable[[str], None]) -> list[Path]:
    """List the storage files of a recording: those that ``metadata.yaml`` names, then others of their kind.

    Args:
        path: of the recording.
        metadata: what ``metadata.yaml`` says.
        report: called with a sentence where it names files that do not exist, beside others that do.

    Raises:
        DataError: there are none, or they are of ROS 1.
    """
    if not path.exists():
        raise DataError(f"{path}: does not exist")
    if path.suffix.lower() == _ROS1 and path.is_file():
        raise DataError(ros1_text(path, path))
    if not path.is_dir():
        if not _is_storage(path):
            raise DataError(
                f"{path}: is not a recording; expected a folder or a file that ends in {' or '.join(SUFFIXES)}"
            )
        return [path]
    there = [entry for entry in list_folder(path) if _is_storage(entry)]
    found = [entry for entry in there if entry.suffix.lower() != _ROS1]
    names = metadata.get("relative_file_paths")
    if not isinstance(names, list):
        names = []
    named = list(dict.fromkeys(path / PureWindowsPath(str(name)).name for name in names))  # parts with / or \\
    missing = [str(file) for file in named if not file.is_file()]
    if missing:
        problem = f"{path}: metadata.yaml names files that do not exist: {', '.join(missing)}"
        if not found:
            raise DataError(problem)
        report(problem)
        named = [file for file in named if file.is_file()]
    others = [file for file in found if file not in named and (not named or file.suffix == named[0].suffix)]
    if named and others:
        log.warning("%s: metadata.yaml does not name %s; they are read as well", path, ", ".join(map(str, others)))
    if not named and not others:
        if there:
            raise DataError(ros1_text(path, there[0]))
        raise DataError(f"{path}: contains no recording; expected metadata.yaml or a file that ends in {SUFFIXES}")
    if not named and len({re.sub(r"_\d+$", "", sequence_name(file)) for file in others}) > 1:
        log.warning("%s: has no metadata.yaml; %s are read as one recording; if they are several, give each a folder",
                    path, ", ".join(file.name for file in others))  # fmt: skip
    return [*named, *others]


def ros1_text(path: Path, file: Path) -> str:
    """Say what to do with a recording of ROS 1."""
    return (
        f"{path}: is a recording of ROS 1; convert it: rosbags-convert --src {file} "
        f"--dst {file.with_name(f'{file.stem}_ros2')}"
    )


def open_file(path: Path, folder: Callable[[], Path], report: Callable[[str], None]) -> Storage:
    """Open a storage file, by what it begins with, whatever its name says.

    Args:
        path: of the file.
        folder: makes a folder for what is decompressed.
        report: called with a sentence for each part that cannot be read.

    Raises:
        DataError: it cannot be read even in part.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for without end
        raise DataError(f"{path}: is no regular file")
    head, name = _head(path), path
    if head.startswith(ZSTD_MAGIC):
        path = _decompress(path, folder() / path.stem, report)
        head = _head(path)
    if head.startswith(_ROSBAG):
        raise DataError(ros1_text(name, name))
    for beginning, what in _NO_STORAGE.items():
        if head.startswith(beginning):
            raise DataError(f"{name}: is {what}")
    is_sqlite = head.startswith(SQLITE_MAGIC) or ".db3" in name.suffixes
    return SqliteFile(path, report) if is_sqlite and not head.startswith(MCAP_MAGIC) else McapFile(path, report)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(32)


def _is_storage(path: Path) -> bool:
    return path.name.lower().endswith((*_ENDINGS, _ROS1)) and not path.name.startswith(".") and not path.is_dir()


def _decompress(path: Path, target: Path, report: Callable[[str], None]) -> Path:
    try:
        with path.open("rb") as file, target.open("wb") as whole:
            reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            try:
                while piece := reader.read(_PIECE_BYTES):
                    whole.write(piece)
            except zstandard.ZstdError as error:
                report(f"{path}: is damaged and cannot be decompressed to its end: {error}")
    except OSError as error:
        raise DataError(f"{path}: cannot be decompressed: {error.strerror}; decompress it with `zstd -d`") from None
    return target
