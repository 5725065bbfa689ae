# SPDX-License-Identifier: Apache-2.0
"""What is checked of an image file before it is decoded: the size that it claims, and whether its end is there."""

import io
import re
import warnings
from pathlib import Path

from PIL import Image

#: Default for the largest image that is decoded.
MAX_PIXELS = 64_000_000

_JPEG, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_USUAL_PADDING = 64
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")  # not a stuffed byte, not a restart: those are within a scan


def oversized(file: Path | bytes, max_pixels: int = MAX_PIXELS) -> str:
    """Say by how much an image is too large to be decoded; empty where it is not, or its header cannot be read.

    Args:
        file: the file, or its bytes.
        max_pixels: the most pixels to accept.

    Returns:
        A phrase for a message, such as "claims 65500 x 65500 pixels; at most 64 megapixels are accepted".
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(file if isinstance(file, Path) else io.BytesIO(file)) as image:
                width, height = image.size
        except Image.DecompressionBombError:  # above twice Pillow's own bound, 89 megapixels
            claim = "more than 178 megapixels"
        except (OSError, SyntaxError, ValueError):  # not of a format that Pillow reads
            return ""
        else:
            if width * height <= max_pixels:
                return ""
            claim = f"{width} x {height} pixels"
    return f"claims {claim}; at most {max_pixels / 1e6:g} megapixels are accepted"


def is_cut_jpeg(data: bytes) -> bool:
    """Say whether data begin as a JPEG and lack its end; decoders of some versions fill the rest with grey, silently.

    What follows the end (padding, the video of a telephone's moving picture) does not matter.

    Source: ITU-T T.81, annex B.
    """
    if not data.startswith(_JPEG) or _JPEG_END in data[-_USUAL_PADDING:]:
        return False
    position = 2
    while found := _JPEG_MARKER.search(data, position):
        if found[1] == _JPEG_END[1:]:
            return False
        position = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    return True
