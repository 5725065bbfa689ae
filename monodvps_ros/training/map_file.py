# SPDX-License-Identifier: Apache-2.0
"""An .npy file written map by map, with errors for a full disk; readers map it into memory."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class MapFile:
    """Writes maps of one shape to positions in a file; the number of maps is given at the end.

    Not memory-mapped: on a full disk, writing to a mapping kills the process with SIGBUS, while writing to a file
    raises. Maps that are never written take no disk space and read as 0.

    Args:
        path: of the file, .npy.
        dtype: of the maps.
        shape: of a map.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> None:
        self._dtype, self._shape = np.dtype(dtype), shape
        self._file = path.open("wb")
        self._write_header(0)
        self._start = self._file.tell()
        self._bytes = int(np.prod(shape)) * self._dtype.itemsize

    def __setitem__(self, place: int, values: NDArray[Any]) -> None:
        """Write a map.

        Raises:
            OSError: the disk is full.
        """
        self._file.seek(self._start + place * self._bytes)
        self._file.write(np.ascontiguousarray(np.broadcast_to(values, self._shape), self._dtype).tobytes())

    def close(self, count: int) -> None:
        """Set the length of the file to a number of maps.

        Raises:
            OSError: the disk is full.
        """
        self._file.seek(0)
        self._write_header(count)
        self._file.truncate(self._start + count * self._bytes)
        self._file.close()

    def _write_header(self, count: int) -> None:
        # Headers of numpy are as long whatever the first axis is.
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False,
                  "shape": (count, *self._shape)}  # fmt: skip
        np.lib.format.write_array_header_1_0(self._file, header)
