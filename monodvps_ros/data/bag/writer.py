# SPDX-License-Identifier: Apache-2.0
"""Writes recordings."""

import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer

from monodvps_ros.data.bag import messages
from monodvps_ros.data.bag.message_types import known_types, require_type
from monodvps_ros.data.message_fields import Fields, image_fields
from monodvps_ros.errors import DataError
from monodvps_ros.files import partial_path
from monodvps_ros.geometry.calibration import Calibration
from monodvps_ros.outputs import CAMERA_INFO_TYPE, IMAGE_TYPE

STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}


class BagWriter:
    """Writes a recording; a context manager. The recording appears at its path, whole, when the context ends well.

    Args:
        path: folder to make; its parents are made too.
        storage: mcap or sqlite3.

    Raises:
        DataError: the path exists, or the storage is not known.
    """

    def __init__(self, path: Path, storage: str = "mcap") -> None:
        if path.exists():
            raise DataError(f"{path}: exists already; recordings are not overwritten: remove it or choose another name")
        if storage not in STORAGES:
            raise DataError(f"no bag storage '{storage}'; there are: {', '.join(STORAGES)}")
        self.path = path
        self._storage = STORAGES[storage]
        self._typestore = known_types()
        self._connections: dict[tuple[str, str], Connection] = {}

    def __enter__(self) -> "BagWriter":
        """Begin to write, in a hidden folder beside the path.

        Raises:
            DataError: the folder cannot be made.
        """
        self._folder = partial_path(self.path)
        try:
            self._folder.mkdir(parents=True)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written: {error.strerror}") from error
        self._writer = Writer(self._folder / self.path.name, version=9, storage_plugin=self._storage)
        self._writer.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the recording and put it in its place; after an error, leave nothing."""
        try:
            if kind is None:
                self._writer.close()
                (self._folder / self.path.name).rename(self.path)
        finally:
            with suppress(Exception):  # an error is on its way already; one of tidying up would hide it
                self._writer.abort()
            shutil.rmtree(self._folder, ignore_errors=True)

    def message(self, topic: str, type_name: str, stamp_ns: int, frame_id: str, fields: Fields) -> None:
        """Write a message with a header.

        Args:
            topic: its name.
            type_name: such as ``sensor_msgs/msg/Image``.
            stamp_ns: of the header; taken as the time of receipt too.
            frame_id: of the header.
            fields: all others, as `data.message_fields` packs them.

        Raises:
            DataError: the definition of the type is not found.
        """
        self._write(topic, type_name, stamp_ns, {"header": messages.header_fields(stamp_ns, frame_id), **fields})

    def image(self, topic: str, stamp_ns: int, frame_id: str, pixels: NDArray[Any], encoding: str) -> None:
        """Write an Image of an array as `encode_image` takes it.

        Raises:
            EncodingError: as `encode_image` says.
        """
        self.message(topic, IMAGE_TYPE, stamp_ns, frame_id, image_fields(pixels, encoding))

    def camera_info(
        self, topic: str, stamp_ns: int, frame_id: str, size: tuple[int, int], intrinsics: NDArray[np.float64]
    ) -> None:
        """Write the CameraInfo of a rectified image of a size (height, width), with its (3, 3) K."""
        self.calibration(topic, stamp_ns, frame_id, Calibration.of_pinhole(intrinsics, size))

    def calibration(self, topic: str, stamp_ns: int, frame_id: str, calibration: Calibration) -> None:
        """Write a CameraInfo."""
        self.message(topic, CAMERA_INFO_TYPE, stamp_ns, frame_id, calibration.fields())

    def transform(
        self, stamp_ns: int, parent: str, child: str, matrix: NDArray[np.float64], is_static: bool = False
    ) -> None:
        """Write a transform on /tf, or /tf_static: a (4, 4) rigid matrix from the child to the parent, metres."""
        fields = messages.transform_fields(stamp_ns, parent, child, matrix)
        self._write("/tf_static" if is_static else "/tf", "tf2_msgs/msg/TFMessage", stamp_ns, fields)

    def raw(self, topic: str, type_name: str, cdr_bytes: bytes, receive_ns: int) -> None:
        """Write a message as it came.

        Args:
            topic: its name.
            type_name: such as ``sensor_msgs/msg/Image``; its definition is written beside it.
            cdr_bytes: the serialized message.
            receive_ns: time of receipt in nanoseconds.

        Raises:
            DataError: the definition of the type is not found.
        """
        self._writer.write(self._connection(topic, type_name), receive_ns, cdr_bytes)

    def _write(self, topic: str, type_name: str, stamp_ns: int, fields: Fields) -> None:
        require_type(self._typestore, type_name)
        message = messages.message(self._typestore, type_name, fields)
        self.raw(topic, type_name, bytes(self._typestore.serialize_cdr(message, type_name)), stamp_ns)

    def _connection(self, topic: str, type_name: str) -> Connection:
        key = topic, type_name
        if key not in self._connections:
            require_type(self._typestore, type_name)
            self._connections[key] = self._writer.add_connection(topic, type_name, typestore=self._typestore)
        return self._connections[key]
