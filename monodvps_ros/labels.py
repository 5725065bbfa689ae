# SPDX-License-Identifier: Apache-2.0
"""Label spaces (class names, thing or stuff, colours) and the panoptic id codec.

A *panoptic id* is ``class_id * 1000 + instance_id``: class ids count from 0, instance ids run from 1 to 999 within a
class, and 0 stands for stuff (or for a thing whose instance is not known). Void, a pixel of no segment, is 65535 in
panoptic maps and 255 in class maps; docs/node.md says what it is in every output of the node.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.errors import LabelError

LABEL_DIVISOR = 1000
VOID_PANOPTIC_ID = 65535
VOID_CLASS_ID = 255
MAX_INSTANCE_ID = LABEL_DIVISOR - 1
MAX_CLASS_ID = VOID_PANOPTIC_ID // LABEL_DIVISOR - 1
#: In maps of class groups: a class that no group names.
OTHER_GROUP = 254


@dataclass(frozen=True)
class ClassInfo:
    """One class of a label space: its name, its colour (red, green, blue; 0-255) and whether it is countable."""

    name: str
    color: tuple[int, int, int]
    is_thing: bool


@dataclass(frozen=True)
class LabelSpace:
    """The classes of a data set, in the order of their class ids.

    Attributes:
        name: how configurations, weights and command lines call it.
        classes: one entry per class id.
    """

    name: str
    classes: tuple[ClassInfo, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Class names in the order of class ids."""
        return tuple(info.name for info in self.classes)

    @cached_property
    def thing_ids(self) -> tuple[int, ...]:
        """Class ids of things, ascending."""
        return tuple(i for i, info in enumerate(self.classes) if info.is_thing)

    @cached_property
    def is_thing(self) -> NDArray[np.bool_]:
        """(C,) bool, true for things; not writable."""
        table = np.array([info.is_thing for info in self.classes])
        table.setflags(write=False)
        return table

    @cached_property
    def colors(self) -> NDArray[np.uint8]:
        """(C, 3) uint8, red, green, blue; not writable."""
        table = np.array([info.color for info in self.classes], np.uint8)
        table.setflags(write=False)
        return table

    def __len__(self) -> int:
        """Return the number of classes, void not counted."""
        return len(self.classes)

    def class_id(self, name: str) -> int:
        """Return the class id of a class name.

        Raises:
            LabelError: no class has that name.
        """
        if name not in self.names:
            raise LabelError(f"no class '{name}' in label space '{self.name}'; it has: {', '.join(self.names)}")
        return self.names.index(name)


@dataclass(frozen=True)
class ClassGroups:
    """Classes as a set of labels tells them apart: a group is one class, or several that the labels call the same.

    Maps of groups are uint8: the group's place in `names`, 254 for a class that no group names, 255 for void.

    Attributes:
        names: of the groups.
        members: class ids of each group.
    """

    names: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]

    @cached_property
    def table(self) -> NDArray[np.uint8]:
        """(256,) uint8 group of each class id, void included; not writable."""
        table = np.full(256, OTHER_GROUP, np.uint8)
        for group, members in enumerate(self.members):
            table[list(members)] = group
        table[VOID_CLASS_ID] = VOID_CLASS_ID
        table.setflags(write=False)
        return table


def single_classes(space: LabelSpace) -> ClassGroups:
    """Return the groups of labels that tell all classes of a label space apart."""
    return ClassGroups(space.names, tuple((index,) for index in range(len(space))))


def encode_panoptic(class_id: NDArray[np.integer[Any]], instance_id: NDArray[np.integer[Any]]) -> NDArray[np.uint16]:
    """Join class and instance ids into panoptic ids.

    Args:
        class_id: any shape, integer, 0..64, or 255 for void.
        instance_id: the same shape, integer, 0..999; not looked at where the class is void.

    Returns:
        The same shape, uint16; void is 65535.

    Raises:
        LabelError: an id is out of range.
    """
    classes, instances = np.broadcast_arrays(np.asarray(class_id, np.int64), np.asarray(instance_id, np.int64))
    void = classes == VOID_CLASS_ID
    wrong = ~void & ((classes < 0) | (classes > MAX_CLASS_ID))
    if wrong.any():
        raise LabelError(f"class id {classes[wrong].flat[0]} is not in 0..{MAX_CLASS_ID} (void is {VOID_CLASS_ID})")
    wrong = ~void & ((instances < 0) | (instances > MAX_INSTANCE_ID))
    if wrong.any():
        raise LabelError(f"instance id {instances[wrong].flat[0]} is not in 0..{MAX_INSTANCE_ID}")
    return np.where(void, VOID_PANOPTIC_ID, classes * LABEL_DIVISOR + instances).astype(np.uint16)


def decode_panoptic(panoptic_id: NDArray[np.integer[Any]]) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Part panoptic ids into class and instance ids; the inverse of `encode_panoptic`.

    Args:
        panoptic_id: any shape, integer, 0..64999 or 65535 for void.

    Returns:
        Class ids (uint8, void 255) and instance ids (uint16, void 0), of the same shape.

    Raises:
        LabelError: a value is neither void nor in range.
    """
    ids = np.asarray(panoptic_id)
    void = ids == VOID_PANOPTIC_ID
    wrong = ~void & ((ids < 0) | (ids >= (MAX_CLASS_ID + 1) * LABEL_DIVISOR))
    if wrong.any():
        raise LabelError(f"panoptic id {ids[wrong].flat[0]} is neither void (65535) nor class * 1000 + instance")
    known = np.where(void, 0, ids)
    classes = np.where(void, VOID_CLASS_ID, known // LABEL_DIVISOR).astype(np.uint8)
    return classes, (known % LABEL_DIVISOR).astype(np.uint16)


def label_space(name: str) -> LabelSpace:
    """Return a label space by its name.

    Raises:
        LabelError: there is none of that name.
    """
    if name not in LABEL_SPACES:
        raise LabelError(f"no label space '{name}'; there are: {', '.join(LABEL_SPACES)}")
    return LABEL_SPACES[name]


def _space(name: str, things: range, *rows: tuple[str, int, int, int]) -> LabelSpace:
    return LabelSpace(
        name, tuple(ClassInfo(row[0], (row[1], row[2], row[3]), index in things) for index, row in enumerate(rows))
    )


#: The 19 training classes of Cityscapes (Cordts et al. 2016), in training order, with the data set's colours.
CITYSCAPES = _space(
    "cityscapes",
    range(11, 19),
    ("road", 128, 64, 128),
    ("sidewalk", 244, 35, 232),
    ("building", 70, 70, 70),
    ("wall", 102, 102, 156),
    ("fence", 190, 153, 153),
    ("pole", 153, 153, 153),
    ("traffic light", 250, 170, 30),
    ("traffic sign", 220, 220, 0),
    ("vegetation", 107, 142, 35),
    ("terrain", 152, 251, 152),
    ("sky", 70, 130, 180),
    ("person", 220, 20, 60),
    ("rider", 255, 0, 0),
    ("car", 0, 0, 142),
    ("truck", 0, 0, 70),
    ("bus", 0, 60, 100),
    ("train", 0, 80, 100),
    ("motorcycle", 0, 0, 230),
    ("bicycle", 119, 11, 32),
)

#: The 19 classes of SemKITTI-DVPS (Qiao et al. 2021), things first, in the data set's order; colours are ours.
SEMKITTI = _space(
    "semkitti",
    range(0, 8),
    ("car", 0, 0, 142),
    ("bicycle", 119, 11, 32),
    ("motorcycle", 0, 0, 230),
    ("truck", 0, 0, 70),
    ("other-vehicle", 0, 60, 100),
    ("person", 220, 20, 60),
    ("bicyclist", 255, 0, 0),
    ("motorcyclist", 200, 0, 100),
    ("road", 128, 64, 128),
    ("parking", 250, 170, 160),
    ("sidewalk", 244, 35, 232),
    ("other-ground", 81, 0, 81),
    ("building", 70, 70, 70),
    ("fence", 190, 153, 153),
    ("vegetation", 107, 142, 35),
    ("trunk", 111, 74, 0),
    ("terrain", 152, 251, 152),
    ("pole", 153, 153, 153),
    ("traffic-sign", 220, 220, 0),
)

LABEL_SPACES = {space.name: space for space in (CITYSCAPES, SEMKITTI)}
