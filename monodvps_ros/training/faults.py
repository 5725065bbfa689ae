# SPDX-License-Identifier: Apache-2.0
"""Errors for full disks, exhausted memory and dead worker processes, with what to do."""

import errno
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from monodvps_ros.errors import DataError, DeviceError, MonoDVPSError

#: Reaching the file size limit (`ulimit -f`) is treated like a full disk.
_FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: Messages of torch for exhausted host memory: of its allocator, and of starting workers.
_OUT_OF_MEMORY = re.compile("not enough memory|can't allocate memory|cannot allocate memory", re.IGNORECASE)
_WORKER_DIED = re.compile(r"DataLoader worker.*(killed by signal|exited unexpectedly)")


@contextmanager
def explained(checkpoint: Path) -> Iterator[None]:
    """Turn errors of memory, disk and worker processes into ones that say what to do.

    Args:
        checkpoint: path of the run's last checkpoint, which need not exist yet.

    Raises:
        DataError: the disk is full.
        DeviceError: out of GPU or host memory, or a data-loading process was killed.
        KeyboardInterrupt: Ctrl-C outside of training steps, which Lightning turns into a plain exit.
        MonoDVPSError: raised in a data-loading process; without the traceback of that process.
    """
    smaller = (
        f"start again with a smaller batch_size, network.input_height or network.input_width, in another --out, and "
        f"with --weights {checkpoint} to keep what was trained so far"
    )
    before, threading.excepthook = threading.excepthook, _told_once
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise DeviceError(f"out of GPU memory: {_first_line(error)}; {smaller}") from error
    except MemoryError as error:
        raise DeviceError(f"out of memory: {_first_line(error)}; {smaller}; or reduce workers") from error
    except MonoDVPSError as error:
        if "Original Traceback" not in str(error):
            raise
        raise type(error)(str(error).strip().rpartition("Error: ")[2]) from error
    except OSError as error:
        if error.errno in _FULL_DISK:
            raise DataError(f"the disk is full: {error}; free disk space, then continue with --resume") from error
        if error.errno == errno.ENOMEM:
            raise DeviceError(f"out of memory: {error}; {smaller}; or reduce workers") from error
        raise
    except RuntimeError as error:
        text = str(error)
        if _WORKER_DIED.search(text):
            raise DeviceError(
                f"a data-loading process died: {_first_line(error)}; usually out of memory, or of /dev/shm in a "
                "container (docker: --shm-size): reduce workers, then continue with --resume"
            ) from error
        if _OUT_OF_MEMORY.search(text):
            raise DeviceError(f"out of memory: {_first_line(error)}; {smaller}; or reduce workers") from error
        raise
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        threading.excepthook = before


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _told_once(raised: Any) -> None:
    """Print no traceback of TensorBoard's writing thread: its error is raised again with the next figure."""
    if not issubclass(raised.exc_type, OSError):
        threading.__excepthook__(raised)
