# SPDX-License-Identifier: Apache-2.0
"""Memory that is given back: pages of files that nobody changed."""

import ctypes
import mmap
from pathlib import Path

import pytest

from monodvps_ros.process_memory import release_memory

BYTES = bytes(range(256)) * 4096


def mapped(path, protection):
    path.write_bytes(BYTES)
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=protection)


def resident_kb(path):
    lines = Path("/proc/self/smaps").read_text().splitlines()
    begin = next(place for place, line in enumerate(lines) if line.endswith(str(path)))
    return next(int(line.split()[1]) for line in lines[begin:] if line.startswith("Rss:"))


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux")
def test_pages_of_files_are_given_back_and_what_was_changed_is_kept(tmp_path):
    """Like a library's code, and its tables, which the loader fills in and then protects."""
    code = mapped(tmp_path / "code", mmap.PROT_READ)
    tables = mapped(tmp_path / "tables", mmap.PROT_READ | mmap.PROT_WRITE)
    tables[5] = 99
    place = ctypes.addressof(ctypes.c_char.from_buffer(tables))
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(place), len(tables), mmap.PROT_READ) == 0
    assert code[:] == BYTES and tables[6:] == BYTES[6:]  # looks at every page
    assert resident_kb(tmp_path / "code") == resident_kb(tmp_path / "tables") == 1024
    release_memory()
    assert (resident_kb(tmp_path / "code"), resident_kb(tmp_path / "tables")) == (0, 1024)
    assert code[:] == BYTES and tables[:] == bytes([*BYTES[:5], 99, *BYTES[6:]])
