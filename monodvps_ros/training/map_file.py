# SPDX-License-Identifier: Apache-2.0
"""One .npy file, written map by map with a full disk noticed, to be mapped into memory by whoever reads it."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class MapFile:
    """Writes maps of one shape to their places in a file.

    Not mapped into memory: a process that writes to a map on a full disk is killed without a word (SIGBUS), while
    writing to a file raises. What is never written takes no room on the disk and reads as 0.
    """

    def __init__(self, path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> None:
        """Begin a file.

        Args:
            path: of the file, .npy.
            dtype: of the maps.
            shape: number of maps, and their shape.

        Raises:
            OSError: it cannot be written.
        """
        self._dtype, self._shape = np.dtype(dtype), shape
        self._file = path.open("wb")
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._start = self._file.tell()
        self._bytes = int(np.prod(shape[1:])) * self._dtype.itemsize

    def __setitem__(self, place: int, values: NDArray[Any]) -> None:
        """Write a map.

        Raises:
            OSError: the disk is full.
        """
        self._file.seek(self._start + place * self._bytes)
        self._file.write(np.ascontiguousarray(np.broadcast_to(values, self._shape[1:]), self._dtype).tobytes())

    def close(self) -> None:
        """Bring the file to its full length.

        Raises:
            OSError: the disk is full.
        """
        self._file.truncate(self._start + self._shape[0] * self._bytes)
        self._file.close()
