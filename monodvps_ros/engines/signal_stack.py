# SPDX-License-Identifier: Apache-2.0
"""The stack on which signals are handled, kept from a library that leaves another one behind."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Stack(ctypes.Structure):
    """Linux's stack_t."""

    _fields_ = (("pointer", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Restore this thread's alternate signal stack at the end; on Linux, elsewhere nothing is done.

    OpenVINO's CPU plugin sets one when it is loaded on a CPU with AVX-512, and frees its memory: the next signal that
    Python handles, such as Ctrl-C, then ends the process with a segmentation fault.
    """
    if sys.platform != "linux":
        yield
        return
    libc, before = ctypes.CDLL(None), _Stack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)
