# SPDX-License-Identifier: Apache-2.0
"""Names in the order in which people count: frame_2 before frame_10."""

import re
from pathlib import Path


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Return a key to sort paths of one folder by: runs of digits compare as numbers."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if index % 2 else (-1, part) for index, part in enumerate(parts)] + [(-1, path.name)]
