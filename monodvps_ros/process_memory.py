# SPDX-License-Identifier: Apache-2.0
"""Memory of this process."""

import ctypes
import mmap
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

#: Numbers of mallopt's options in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def process_memory_mb() -> float:
    """Return the resident memory of this process in megabytes."""
    resident_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return resident_pages * resource.getpagesize() / 1e6


def release_memory() -> None:
    """Give back to the system what has been freed, which glibc keeps otherwise, and what only the start needed.

    Loading torch's CUDA build looks at a quarter of a gigabyte of libraries that a CPU never needs again. Pages of
    files that were not changed are unmapped; they come back from the file when they are needed.
    """
    library = ctypes.CDLL(None)
    trim = getattr(library, "malloc_trim", None)
    if trim is not None:
        trim(0)
    if hasattr(library, "madvise"):
        for start, end in _unchanged_pages():
            library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)


def _unchanged_pages() -> Iterator[tuple[int, int]]:
    """Find the mappings of files, from and to, of which this process has changed nothing and can change nothing."""
    with suppress(OSError):  # a system without /proc/self/smaps
        bounds = None
        for line in Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace").splitlines():
            words = line.split(maxsplit=5)
            if not words[0].endswith(":"):  # a mapping: bounds, permissions, ..., path
                is_private_file = len(words) == 6 and words[5].startswith("/") and words[1] in ("r--p", "r-xp")
                bounds = words[0] if is_private_file else None
            elif bounds and words[0] == "Anonymous:":
                if words[1] == "0":
                    start, _, end = bounds.partition("-")
                    yield int(start, 16), int(end, 16)
                bounds = None


def share_freed_memory() -> None:
    """Let all threads that start from here on allocate from one heap: what one frees, the others take.

    By default glibc gives each thread a heap of its own, and large messages that go from thread to thread fill them
    all.
    """
    _set_malloc_option(_ARENA_MAX, 1)


def keep_freed_memory() -> None:
    """Keep what this process frees from here on for what it allocates next; with glibc only.

    By default glibc gives large blocks back to the system, which fills each page with zeros when it is asked for it
    again. In training that takes a tenth of a step.
    """
    _set_malloc_option(_MMAP_THRESHOLD, 1 << 25)  # the greatest that it takes
    _set_malloc_option(_TRIM_THRESHOLD, 1 << 30)


def _set_malloc_option(option: int, value: int) -> None:
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)  # of glibc only
    if set_option is not None:
        set_option(option, value)
