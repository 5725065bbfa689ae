# SPDX-License-Identifier: Apache-2.0
"""ROS messages for recordings, made without ROS."""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Nodetype
from rosbags.typesys.store import Typestore

from monodvps_ros.data.message_fields import Fields, ns_to_time, time_to_ns
from monodvps_ros.shapes import check_shapes

log = logging.getLogger(__name__)


def message(store: Typestore, type_name: str, fields: Fields) -> Any:
    """Make a message.

    Args:
        store: knows the type.
        type_name: such as ``sensor_msgs/msg/Image``.
        fields: of the message, all of them, as `message_fields` describes.
    """
    values = {}
    for name, (kind, description) in store.fielddefs[type_name][1]:
        value = fields[name]
        if kind == Nodetype.NAME:
            value = message(store, str(description), value)
        elif kind in {Nodetype.ARRAY, Nodetype.SEQUENCE} and description[0][0] == Nodetype.NAME:
            value = [message(store, str(description[0][1]), item) for item in value]
        values[name] = value
    return store.types[type_name](**values)


def header_fields(stamp_ns: int, frame_id: str) -> Fields:
    """Pack a Header."""
    sec, nanosec = ns_to_time(stamp_ns)
    return {"stamp": {"sec": sec, "nanosec": nanosec}, "frame_id": frame_id}


def stamp_ns(message: Any) -> int:
    """Return the stamp of a message's header in nanoseconds."""
    return time_to_ns(message.header.stamp)


def take_receipt(message: Any, received_ns: int) -> None:
    """Let the time of receipt, nanoseconds, stand for a stamp of 0 or below."""
    if stamp_ns(message) <= 0:
        message.header.stamp.sec, message.header.stamp.nanosec = ns_to_time(received_ns)


def stamped(messages: Iterable[tuple[str, str, int, Any]]) -> Iterator[tuple[int, Any]]:
    """Give the stamp of each message that was read, or the time of its receipt where it has none, and the message."""
    for _, _, received_ns, message in messages:
        yield stamp_ns(message) if stamp_ns(message) > 0 else received_ns, message


def transform_fields(stamp_ns: int, parent: str, child: str, matrix: NDArray[np.float64]) -> Fields:
    """Pack a TFMessage of one transform: a (4, 4) rigid matrix that carries points of the child into the parent.

    Raises:
        ShapeError: the matrix is not 4 x 4.
    """
    from scipy.spatial.transform import Rotation  # noqa: PLC0415 - 38 MB, which player and recorder do not need

    check_shapes(matrix=(matrix, "4 4"))
    quaternion = Rotation.from_matrix(matrix[:3, :3]).as_quat(canonical=True)
    transform = {
        "translation": dict(zip("xyz", matrix[:3, 3].tolist(), strict=True)),
        "rotation": dict(zip("xyzw", quaternion.tolist(), strict=True)),
    }
    stamped = {"header": header_fields(stamp_ns, parent), "child_frame_id": child, "transform": transform}
    return {"transforms": [stamped]}


def transform_matrix(transform: Any) -> NDArray[np.float64] | None:
    """Return the (4, 4) matrix of a geometry_msgs/Transform; None where its quaternion is zero or not finite."""
    from scipy.spatial.transform import Rotation  # noqa: PLC0415

    moved, turned = transform.translation, transform.rotation
    quaternion = np.array([turned.x, turned.y, turned.z, turned.w])
    if not np.isfinite(quaternion).all() or not quaternion.any():
        return None
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(quaternion).as_matrix()
    matrix[:3, 3] = moved.x, moved.y, moved.z
    return matrix


def read_transforms(message: Any, refused: set[str]) -> Iterator[tuple[int, str, str, NDArray[np.float64]]]:
    """Yield stamp in nanoseconds, parent, child, and the (4, 4) matrix from child to parent of each transform.

    Args:
        message: a tf2_msgs/TFMessage.
        refused: frames whose transforms were left out before, for no rotation; each is logged once and added.
    """
    for entry in message.transforms:
        parent, child = entry.header.frame_id.strip("/"), entry.child_frame_id.strip("/")
        matrix = transform_matrix(entry.transform)
        if matrix is not None:
            yield time_to_ns(entry.header.stamp), parent, child, matrix
        elif child not in refused:
            refused.add(child)
            log.warning("transforms of frame '%s' are skipped: their quaternion is zero or not finite, as at %d ns",
                        child, time_to_ns(entry.header.stamp))  # fmt: skip
