# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share."""

import re
from typing import Annotated, Literal

import typer

from monodvps_ros.errors import ConfigError, shown

#: Splits of 'drives', without the imports that rendering needs.
Split = Literal["train", "val", "test", "train2", "train3"]
RectifiedOption = Annotated[
    Literal["auto", "true", "false"],
    typer.Option(
        help="Whether the images are already rectified; if not, they are rectified. auto: true if the image topic's "
        "name says so (image_rect, rect/image) or camera_info has no distortion."
    ),
]
WEIGHTS_HELP = "Shipped name (street, drives), weights file, or 'random' for untrained weights. Default: "
ImageTopicOption = Annotated[str | None, typer.Option(help="Image topic to read, in a recording with several cameras.")]


def parse_size(text: str) -> tuple[int, int]:
    """Read HxW.

    Raises:
        ConfigError: the text is not of that form.
    """
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise ConfigError(f"size is {shown(text)}; it must be HxW, rows by columns in pixels, such as 192x640")
    return int(match[1]), int(match[2])
