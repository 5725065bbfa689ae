# SPDX-License-Identifier: Apache-2.0
"""What every source of samples checks: that time goes on, that sizes agree, that labels exist."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.errors import DataError
from monodvps_ros.labels import LABEL_DIVISOR, VOID_PANOPTIC_ID, LabelSpace


def check_increasing(previous_ns: int, stamp_ns: int, where: str) -> None:
    """Check that a frame is younger than the one before it.

    Args:
        previous_ns: the latest stamp before.
        stamp_ns: stamp of the frame.
        where: path or topic, for the message.

    Raises:
        DataError: it is not.
    """
    if stamp_ns <= previous_ns:
        raise DataError(
            f"{where}: stamp {stamp_ns} ns does not come after the previous frame's {previous_ns} ns; "
            "frames must be in order of time"
        )


def check_size(size: Sequence[int], expected: Sequence[int], where: str, of: str = "the image") -> None:
    """Check that a map has the size of its image.

    Raises:
        DataError: it has not.
    """
    if tuple(size) != tuple(expected):
        raise DataError(f"{where}: is {size[0]} x {size[1]} (height x width) but {of} is {expected[0]} x {expected[1]}")


def check_panoptic(panoptic: NDArray[np.uint16], labels: LabelSpace, where: str) -> None:
    """Check that each panoptic id is void or of a class of the label space.

    Raises:
        DataError: one is not.
    """
    wrong = (panoptic >= len(labels) * LABEL_DIVISOR) & (panoptic != VOID_PANOPTIC_ID)
    if wrong.any():
        value = int(panoptic[wrong][0])
        raise DataError(
            f"{where}: panoptic id {value} is of class {value // LABEL_DIVISOR}, but label space '{labels.name}' has "
            f"classes 0..{len(labels) - 1} (void is {VOID_PANOPTIC_ID})"
        )
