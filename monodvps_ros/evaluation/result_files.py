# SPDX-License-Identifier: Apache-2.0
"""Files of results: the JSON that a command writes and reads again, and its page."""

import json
from pathlib import Path
from typing import Any

from monodvps_ros.errors import DataError


def read_result_file(path: Path, *groups: str) -> dict[str, Any]:
    """Read the JSON of another run of a command.

    Args:
        path: of the file.
        groups: keys that the command's results have.

    Raises:
        DataError: it cannot be read, or is something else.
    """
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(results, dict) or any(group not in results for group in groups):
        raise DataError(f"{path}: is not a result of this command; expected the file that --json wrote")
    return results


def write_result_file(path: Path, text: str) -> None:
    """Write a file whole or not at all, and its folder if need be.

    Raises:
        DataError: it cannot be written.
    """
    from monodvps_ros.data.image_files import write_bytes  # noqa: PLC0415

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path.parent}: cannot be made: {error.strerror}") from None
    write_bytes(path, text.encode("utf-8"))
