# SPDX-License-Identifier: Apache-2.0
"""What can end a run from outside, turned into errors that say what to do."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from monodvps_ros.errors import DataError, DeviceError, MonoDVPSError

#: A file that reached the limit of its size (`ulimit -f`) is of no other use than a full disk.
_FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: How torch says that the host's memory is used up: its allocator, and its workers' start.
_OUT_OF_MEMORY = re.compile("not enough memory|can't allocate memory|cannot allocate memory", re.IGNORECASE)
_WORKER_DIED = re.compile(r"DataLoader worker.*(killed by signal|exited unexpectedly)")


@contextmanager
def explained(checkpoint: Path) -> Iterator[None]:
    """Say what to do where memory or disk run out, or a worker process dies.

    Args:
        checkpoint: the run's last checkpoint, whether or not it is there yet.

    Raises:
        DataError: the disk is full.
        DeviceError: the memory of GPU or host is used up, or a process that reads samples was killed.
        KeyboardInterrupt: Ctrl-C where training could not end by itself; Lightning makes a plain exit of it.
        MonoDVPSError: raised inside in a process that reads samples; without that process's traceback.
    """
    smaller = (
        f"start again with a smaller batch_size, network.input_height or network.input_width, in another --out, and "
        f"with --weights {checkpoint} for what was learnt so far"
    )
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise DeviceError(f"out of GPU memory: {_first_line(error)}; {smaller}") from error
    except MemoryError as error:
        raise DeviceError(f"out of memory: {_first_line(error)}; {smaller}; or set workers to less") from error
    except MonoDVPSError as error:
        if "Original Traceback" not in str(error):
            raise
        raise type(error)(str(error).strip().rpartition("Error: ")[2]) from error
    except OSError as error:
        if error.errno in _FULL_DISK:
            raise DataError(f"the disk is full: {error}; make room, then go on with --resume") from error
        if error.errno == errno.ENOMEM:
            raise DeviceError(f"out of memory: {error}; {smaller}; or set workers to less") from error
        raise
    except RuntimeError as error:
        text = str(error)
        if _WORKER_DIED.search(text):
            raise DeviceError(
                f"a process that reads samples died: {_first_line(error)}; mostly memory has run out, or /dev/shm in a "
                "container (docker: --shm-size): set workers to less, then go on with --resume"
            ) from error
        if _OUT_OF_MEMORY.search(text):
            raise DeviceError(f"out of memory: {_first_line(error)}; {smaller}; or set workers to less") from error
        raise
    except SystemExit as error:
        raise KeyboardInterrupt from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
