# SPDX-License-Identifier: Apache-2.0
"""Identifies data: by its contents, wherever it lies, or as it lies here, without reading it."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from monodvps_ros.data.listing import entries
from monodvps_ros.errors import DataError

#: Bytes hashed at the start, in the middle and at the end of a file.
_SAMPLED = 1 << 14
#: Ending of what sqlite leaves beside a recording that was not closed when it is read.
_BY_READERS = ".db3-shm"


def fingerprint(path: Path, without: Path | None = None) -> str:
    """Identify a file, or all files of a folder: by names, sizes, and samples of the contents.

    Neither place nor times count, so that a copy has the fingerprint of the original.

    Args:
        path: file or folder; links are followed. Where there is nothing, its name alone counts.
        without: folder whose files do not count, such as an output in the folder of the data.

    Returns:
        Hexadecimal digits.

    Raises:
        DataError: a file cannot be read.
    """
    return _digest(path, _sample, without)


def file_times(path: Path) -> str:
    """Identify a file, or all files of a folder, as they are here: by names, sizes and times of modification.

    Args:
        path: file or folder, as of `fingerprint`.

    Returns:
        Hexadecimal digits.

    Raises:
        DataError: a folder cannot be read.
    """
    return _digest(path, _size_and_time)


def _digest(path: Path, content: Callable[[Path], bytes], without: Path | None = None) -> str:
    digest = hashlib.sha256()
    files = [path] if not path.is_dir() else _files(path, without)
    try:
        for file in files:
            digest.update(str(file.relative_to(path.parent if file == path else path)).encode(errors="surrogateescape"))
            if file.is_file():
                digest.update(content(file))
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _files(folder: Path, without: Path | None) -> list[Path]:
    """List all files that count, in any depth; a folder that links lead to again counts once."""
    found, folders = list[Path](), [folder]
    seen = set() if without is None else {os.path.realpath(without)}
    while folders:
        place = folders.pop()
        if (real := os.path.realpath(place)) not in seen:
            seen.add(real)
            for entry in sorted(entries(place)):
                if not entry.name.endswith(_BY_READERS):
                    (folders if entry.is_dir() else found).append(entry)
    return sorted(found)


def _size_and_time(file: Path) -> bytes:
    status = file.stat()
    return f" {status.st_size} {status.st_mtime_ns}\n".encode()


def _sample(file: Path) -> bytes:
    size = file.stat().st_size
    with file.open("rb") as opened:
        digest = hashlib.sha256(str(size).encode())
        if size <= 3 * _SAMPLED:
            digest.update(opened.read())
            return digest.digest()
        for place in (0, (size - _SAMPLED) // 2, size - _SAMPLED):
            opened.seek(place)
            digest.update(opened.read(_SAMPLED))
    return digest.digest()
