# SPDX-License-Identifier: Apache-2.0
"""The size that an image file claims, read from its header before anything is allocated for it."""

import io
import warnings
from pathlib import Path

from PIL import Image

#: Default for the largest image that is decoded.
MAX_PIXELS = 64_000_000


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
