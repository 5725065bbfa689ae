# SPDX-License-Identifier: Apache-2.0
"""What happens to memory that a process frees."""

import ctypes

#: Numbers of options in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Keep freed memory for the next sample or step; with glibc only.

    glibc gives large blocks back to the system by default, which fills each page with zeros when it is asked for it
    again. For samples that takes longer than making them, in training a tenth of a step.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, 1 << 25)  # the greatest that it takes
        set_option(_TRIM_THRESHOLD, 1 << 30)
