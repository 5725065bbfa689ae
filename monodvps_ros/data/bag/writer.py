# SPDX-License-Identifier: Apache-2.0
"""Writes recordings."""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin

from monodvps_ros.data.bag import messages
from monodvps_ros.data.bag.message_types import require_type, written_types
from monodvps_ros.data.bag.storage_files import StorageFiles
from monodvps_ros.data.message_fields import Fields, image_fields
from monodvps_ros.errors import DataError
from monodvps_ros.files import partial_path, partials
from monodvps_ros.geometry.calibration import Calibration
from monodvps_ros.outputs import CAMERA_INFO_TYPE, IMAGE_TYPE

log = logging.getLogger(__name__)

STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
#: Ends the name of an unfinished recording that is not removed: what it holds cannot be made again.
_KEPT = ".kept"


class BagWriter:
    """Writes a recording; a context manager. The recording appears at its path, whole, when the context ends well.

    Attributes:
        path: of the recording.
        unfinished: folder that it is written to until then; one of MCAP can be read as it is, also where the writer was
            killed.

    Args:
        path: folder to make; its parents are made too.
        storage: mcap or sqlite3.
        compressed: compress the chunks of an MCAP file with zstd.
        split_bytes: begin another file when one is as large; 0: never.
        keep_unfinished: what is recorded cannot be made again: after an error, leave it in `unfinished`.

    Raises:
        DataError: the path exists, or the storage is not known.
    """

    def __init__(
        self,
        path: Path,
        storage: str = "mcap",
        *,
        compressed: bool = False,
        split_bytes: int = 0,
        keep_unfinished: bool = False,
    ) -> None:
        if path.exists():
            raise DataError(f"{path}: exists already; recordings are not overwritten: remove it or choose another name")
        if storage not in STORAGES:
            raise DataError(f"no bag storage '{storage}'; there are: {', '.join(STORAGES)}")
        self.path = path
        self.unfinished = partial_path(path, _KEPT if keep_unfinished else "")
        self._how = STORAGES[storage], compressed, split_bytes
        self._keep = keep_unfinished
        self._typestore = written_types()
        self._connections: dict[tuple[str, str], Connection] = {}

    def __enter__(self) -> "BagWriter":
        """Begin to write, in the folder `unfinished` beside the path; tend to those of writers that were killed.

        Raises:
            DataError: it cannot be written.
        """
        with self._told():
            self._tend_to_leftovers()
            self.unfinished.mkdir(parents=True)
            self._lock = os.open(self.unfinished, os.O_RDONLY)  # as long as this process lives
            fcntl.flock(self._lock, fcntl.LOCK_SH)
            self._files = StorageFiles(self.unfinished, self.path.name, *self._how)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the recording and put it in its place; after an error, remove it unless it is to be kept.

        Raises:
            DataError: it cannot be written.
        """
        try:
            if kind is None:
                with self._told():
                    self._files.close()
                    self.unfinished.rename(self.path)
        finally:
            self._files.abort()
            os.close(self._lock)
            if not self._keep:
                shutil.rmtree(self.unfinished, ignore_errors=True)

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
            DataError: the definition of the type is not found, or the disk is full.
        """
        with self._told():
            if self._files.is_full:
                self._files.split()
                self._connections.clear()
            self._files.writer.write(self._connection(topic, type_name), receive_ns, cdr_bytes)

    def _write(self, topic: str, type_name: str, stamp_ns: int, fields: Fields) -> None:
        require_type(self._typestore, type_name)
        message = messages.message(self._typestore, type_name, fields)
        self.raw(topic, type_name, bytes(self._typestore.serialize_cdr(message, type_name)), stamp_ns)

    def _connection(self, topic: str, type_name: str) -> Connection:
        key = topic, type_name
        if key not in self._connections:
            require_type(self._typestore, type_name)
            self._connections[key] = self._files.writer.add_connection(topic, type_name, typestore=self._typestore)
        return self._connections[key]

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            kept = f"; what has been recorded is in {self.unfinished}" if self._keep else ""
            raise DataError(f"{self.path}: cannot be written: {error.strerror or error}{kept}") from error

    def _tend_to_leftovers(self) -> None:
        for rest in partials(self.path.parent, f"{escape(self.path.name)}.????????"):
            if _in_use(rest):
                continue
            if rest.name.endswith(_KEPT):
                log.warning("%s: a recording that was interrupted; it can be read, copied or removed", rest)
            else:
                log.warning("%s: removed, an interrupted run left it", rest)
                shutil.rmtree(rest)


def _in_use(unfinished: Path) -> bool:
    """Say whether its writer lives."""
    folder = os.open(unfinished, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(folder)
    return False
