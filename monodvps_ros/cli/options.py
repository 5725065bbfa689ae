# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share."""

from enum import Enum
from typing import Annotated

import typer


class Rectified(str, Enum):
    """Whether the images of a recording are already rectified."""

    AUTO = "auto"
    TRUE = "true"
    FALSE = "false"


RectifiedOption = Annotated[
    Rectified,
    typer.Option(
        help="Whether the images are already rectified; if not, they are rectified. auto: true if the image topic's "
        "name says so (image_rect, rect/image) or camera_info has no distortion."
    ),
]
