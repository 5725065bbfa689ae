# SPDX-License-Identifier: Apache-2.0
"""The constants by which each data set is measured, in one table."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from monodvps_ros.errors import ConfigError
from monodvps_ros.labels import CITYSCAPES, SEMKITTI, LabelSpace


@dataclass(frozen=True)
class DatasetRules:
    """How a data set writes its labels and is measured.

    Attributes:
        name: as on command lines.
        space: classes, in the data set's order; None where the recording says.
        instances_per_class: factor of the class in the data set's own segment ids.
        ignored_class: class id of void in its files.
        void_value: segment id of void in its files.
        windows: lengths k in frames over which VPQ and DVPQ are taken.
        depth_thresholds: lambda of DVPQ.
        depth_ratios: of DSTQ.
    """

    name: str
    space: LabelSpace | None
    instances_per_class: int
    ignored_class: int
    void_value: int
    windows: tuple[int, ...]
    depth_thresholds: tuple[float, ...] = (0.5, 0.25, 0.1)
    depth_ratios: tuple[float, ...] = (1.25, 1.1)


#: Cityscapes-DVPS and SemKITTI-DVPS: the scripts published with ViP-DeepLab (Qiao et al. 2021). A bag holds this
#: package's own panoptic ids, at the camera's full rate, and is measured over the windows of Cityscapes-DVPS.
DATASETS: Mapping[str, DatasetRules] = MappingProxyType(
    {
        "cityscapes-dvps": DatasetRules("cityscapes-dvps", CITYSCAPES, 1000, 32, 32000, (1, 2, 3, 4)),
        "semkitti-dvps": DatasetRules("semkitti-dvps", SEMKITTI, 2**20, 255, 255 * 2**20, (1, 5, 10, 20)),
        "bag": DatasetRules("bag", None, 1000, 255, 65535, (1, 2, 3, 4)),
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
