# SPDX-License-Identifier: Apache-2.0
"""Lists folders: in the order in which people count (2 before 10), without what copying a folder leaves in it."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from monodvps_ros.errors import DataError

#: Of macOS, Windows, file systems and network drives, in lower case; further ones are hidden, as locks and unfinished
#: files are.
_LEFT_BY_COPIES = {
    *("__macosx", "icon\r"),
    *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin", "recycler"),
    *("system volume information", "lost+found"),
    *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"),
}


def entries(folder: Path) -> Iterator[Path]:
    """Give what is in a folder and not hidden, in no order; nothing for a file.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        found = list(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror}") from None
    for entry in found:
        if not entry.name.startswith(".") and entry.name.lower() not in _LEFT_BY_COPIES:
            yield entry


def list_folder(folder: Path, suffixes: Sequence[str] = ()) -> list[Path]:
    """List what is in a folder, in natural order.

    Args:
        folder: to list.
        suffixes: endings that count, in lower case; names may have them in capitals. Empty: all.

    Raises:
        DataError: the folder cannot be read.
    """
    found = (entry for entry in entries(folder) if not suffixes or entry.suffix.lower() in suffixes)
    return sorted(found, key=natural_key)


def missing_numbers(paths: Sequence[Path]) -> int:
    """Return how many files are missing among files that are numbered in equal steps; 0 where they are not so numbered.

    Args:
        paths: of one folder, in natural order.
    """
    parted = [re.fullmatch(r"(.*?)(\d+)", path.stem, re.DOTALL) for path in paths]
    found = [(match[1], int(match[2])) for match in parted if match]
    if len(found) < len(paths) or len({prefix for prefix, _ in found}) != 1:
        return 0
    steps = [after - before for (_, before), (_, after) in pairwise(found)]
    usual = min(steps, default=0)
    if usual <= 0 or 2 * steps.count(usual) <= len(steps) or any(step % usual for step in steps):
        return 0
    return sum(step // usual - 1 for step in steps)


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Return a key to sort paths of one folder by: runs of digits compare as numbers."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if index % 2 else (-1, part) for index, part in enumerate(parts)] + [(-1, path.name)]
