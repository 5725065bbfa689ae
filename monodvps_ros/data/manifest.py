# SPDX-License-Identifier: Apache-2.0
"""A file that says how the other files of a folder were made, so that a second run goes on only with its like."""

import hashlib
import json
from pathlib import Path
from typing import Any

from monodvps_ros.data.listing import entries
from monodvps_ros.errors import DataError, counted, shown
from monodvps_ros.files import read_json, write_bytes

#: Ending of the keys under which fingerprints of what another key names stand.
FINGERPRINT = "_fingerprint"


def check_manifest(path: Path, expected: dict[str, Any], what: str = "predictions") -> None:
    """Write a manifest, or check that the one that is there is the same; one that lies there alone is replaced.

    Args:
        path: of the manifest; its folder must exist.
        expected: what it is to say, of JSON's types.
        what: the folder holds.

    Raises:
        DataError: it is not, or cannot be read or written.
    """
    if not path.exists() or not _has_others(path):
        write_bytes(path, (json.dumps(expected, indent=1) + "\n").encode())
        return
    found = read_manifest(path)
    different = [key for key in expected if found.get(key) != expected[key]]
    if different:
        key = different[0]
        if key.endswith(FINGERPRINT):
            source = expected[key.removesuffix(FINGERPRINT)]
            raise DataError(
                f"{path.parent}: contains {what} of {source}, whose files have changed since; choose another folder"
            )
        raise DataError(
            f"{path.parent}: contains {what} that were made with {key} {shown(found.get(key))}, which is now "
            f"{shown(expected[key])} ({counted(len(different), 'difference')}); choose another folder"
        )


def _has_others(path: Path) -> bool:
    """Whether there is anything finished in a manifest's folder besides it, or in a folder there."""
    return any(entry != path and (entry.is_file() or any(entries(entry))) for entry in entries(path.parent))


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest.

    Raises:
        DataError: it cannot be read, or is not a JSON object.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise DataError(
            f"{path}: cannot be read as JSON: it must contain keys and values but is {type(found).__name__}"
        )
    return found


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, since the same name may stand for another file by then."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
