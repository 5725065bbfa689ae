# SPDX-License-Identifier: Apache-2.0
"""Label images of any data set beside a folder of images, and the YAML that says what their values mean.

``labels.yaml`` in the folder, or a file anywhere::

    folder: label                # of uint8 PNGs with the names of the images; this is the default
    values:
      0: sky
      1: [vegetation, terrain]   # classes that these labels do not tell apart
      2: other                   # none of the classes named here
      3: null                    # void
    moving: moving_objects       # optional: a folder of masks, above 0 where something moves over the ground

Classes are those of the label space. An image may lack a label. Where `values` is left out, only `moving` is used.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.checks import check_size
from monodvps_ros.data.image_files import read_map
from monodvps_ros.errors import DataError, LabelError, shown
from monodvps_ros.files import read_yaml
from monodvps_ros.labels import LABEL_DIVISOR, OTHER_GROUP, VOID_CLASS_ID, VOID_PANOPTIC_ID, ClassGroups, LabelSpace

LABEL_FILE = "labels.yaml"
_KEYS = ("folder", "values", "moving")
_OTHER = "other"
#: Marks label values that the file does not name.
_UNKNOWN = 253


@dataclass(frozen=True, eq=False)
class LabelFile:
    """What the values of label images mean.

    Attributes:
        path: of the YAML.
        folder: of the label images, below the folder of the data set.
        groups: classes that the labels tell apart; None where the file names no values.
        table: (256,) uint8 group of each label value.
        moving: folder of the masks of what moves; None where there are none.
    """

    path: Path
    folder: str
    groups: ClassGroups | None
    table: NDArray[np.uint8]
    moving: str | None

    def read_groups(self, data: Path, stem: str, size: tuple[int, int]) -> NDArray[np.uint8] | None:
        """Read the label of an image.

        Args:
            data: folder of the data set.
            stem: name of the image without its ending.
            size: of the image.

        Returns:
            (H, W) uint8 class groups, 254 for none of them, 255 for void; None where the image has no label.

        Raises:
            DataError: the file cannot be read, is of another size, or has a value that the YAML does not name.
        """
        path = _png(data / self.folder, stem)
        if self.groups is None or path is None:
            return None
        values = read_map(path, [np.uint8])
        check_size(values.shape, size, str(path))
        groups: NDArray[np.uint8] = self.table[values]
        if (groups == _UNKNOWN).any():
            value = values[groups == _UNKNOWN][0]
            raise DataError(f"{path}: contains label {value}, which {self.path} does not name")
        return groups

    def read_moving(self, data: Path, stem: str, size: tuple[int, int]) -> NDArray[np.int8] | None:
        """Read which pixels of an image move: (H, W) int8, 1 moves, 0 stands; None where there is no mask.

        Raises:
            DataError: the file cannot be read, or is of another size.
        """
        path = None if self.moving is None else _png(data / self.moving, stem)
        if path is None:
            return None
        values = read_map(path, [np.uint8])
        check_size(values.shape, size, str(path))
        return (values > 0).astype(np.int8)

    def panoptic_table(self) -> NDArray[np.uint16]:
        """Return the (256,) panoptic id of each group, instances unknown; void where a group is not one class."""
        table = np.full(256, VOID_PANOPTIC_ID, np.uint16)
        for group, members in enumerate(self.groups.members if self.groups is not None else ()):
            if len(members) == 1:
                table[group] = members[0] * LABEL_DIVISOR
        return table


def find_label_file(data: Path, space: LabelSpace) -> LabelFile | None:
    """Read the ``labels.yaml`` of a folder; None where it has none.

    Raises:
        DataError: as `read_label_file` says.
    """
    return read_label_file(data / LABEL_FILE, space, data) if (data / LABEL_FILE).is_file() else None


def read_label_file(path: Path, space: LabelSpace, data: Path) -> LabelFile:
    """Read a YAML of label values.

    Args:
        path: of the file.
        space: classes that it may name.
        data: folder of the data set, in which it names folders.

    Raises:
        DataError: it cannot be read, has an unknown key, a value that is not 0..255, a class that the label space has
            not, or a class in two different groups; or a folder that it names is missing.
    """
    read = read_yaml(path)
    if not isinstance(read, dict) or not read.keys() <= set(_KEYS) or not ({"values", "moving"} & read.keys()):
        raise DataError(
            f"{path}: must contain 'values', 'moving' or both, and may contain 'folder'; it is {shown(read)}"
        )
    values = read.get("values")
    groups, table = (None, np.full(256, _UNKNOWN, np.uint8)) if values is None else _groups(path, values, space)
    folder, moving = read.get("folder", "label"), read.get("moving")
    for key, name, is_used in (("folder", folder, groups is not None), ("moving", moving, moving is not None)):
        if is_used and not (isinstance(name, str) and (data / name).is_dir()):
            raise DataError(f"{path}: '{key}' is {shown(name)}; expected the name of a folder in {data}")
    return LabelFile(path, folder, groups, table, moving)


def _png(folder: Path, stem: str) -> Path | None:
    named = (folder / f"{stem}{ending}" for ending in (".png", ".PNG"))
    return next((path for path in named if path.is_file()), None)


def _groups(path: Path, values: Any, space: LabelSpace) -> tuple[ClassGroups, NDArray[np.uint8]]:
    if not isinstance(values, dict) or not values:
        raise DataError(f"{path}: 'values' must say what each label value means; it is {shown(values)}")
    table = np.full(256, _UNKNOWN, np.uint8)
    members: list[tuple[int, ...]] = []
    for value, meaning in values.items():
        if not isinstance(value, int) or not 0 <= value <= 255:
            raise DataError(f"{path}: label value {shown(value)} is not an integer 0..255")
        if meaning is None or meaning == _OTHER:
            table[value] = VOID_CLASS_ID if meaning is None else OTHER_GROUP
            continue
        names = meaning if isinstance(meaning, list) else [meaning]
        try:
            group = tuple(sorted(space.class_id(str(name)) for name in names))
        except LabelError as error:
            raise DataError(f"{path}: {error}") from None
        if group not in members:
            if not group or len({*group} - {index for other in members for index in other}) < len(names):
                raise DataError(f"{path}: value {value} names {shown(meaning)}: a class may be in one group only, once")
            members.append(group)
        table[value] = members.index(group)
    titles = tuple(" + ".join(space.names[index] for index in group) for group in members)
    return ClassGroups(titles, tuple(members)), table
