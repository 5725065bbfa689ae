# SPDX-License-Identifier: Apache-2.0
"""The constants by which a data set is measured."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetRules:
    """How a data set is measured.

    Attributes:
        name: as on command lines.
        windows: lengths k in frames over which VPQ and DVPQ are taken.
        depth_thresholds: lambda of DVPQ.
        depth_ratios: of DSTQ.
    """

    name: str
    windows: tuple[int, ...] = (1, 2, 3, 4)
    depth_thresholds: tuple[float, ...] = (0.5, 0.25, 0.1)
    depth_ratios: tuple[float, ...] = (1.25, 1.1)


#: A recording, a folder of images: at the camera's full rate, measured over the windows of Cityscapes-DVPS.
RECORDING_RULES = DatasetRules("recording")
