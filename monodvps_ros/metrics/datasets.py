# SPDX-License-Identifier: Apache-2.0
"""The constants by which each data set is measured, in one table."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from monodvps_ros.errors import ConfigError


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


#: Cityscapes-DVPS and SemKITTI-DVPS: the scripts published with ViP-DeepLab (Qiao et al. 2021). All else (a recording,
#: a folder of images) is at the camera's full rate and is measured over the windows of Cityscapes-DVPS.
DATASETS: Mapping[str, DatasetRules] = MappingProxyType(
    {
        "cityscapes-dvps": DatasetRules("cityscapes-dvps"),
        "semkitti-dvps": DatasetRules("semkitti-dvps", (1, 5, 10, 20)),
        "recording": DatasetRules("recording"),
    }
)


def dataset_rules(name: str) -> DatasetRules:
    """Return the constants of a data set.

    Raises:
        ConfigError: there is no data set of that name.
    """
    if name not in DATASETS:
        raise ConfigError(f"no data set '{name}'; there are: {', '.join(DATASETS)}")
    return DATASETS[name]
