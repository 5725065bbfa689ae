# SPDX-License-Identifier: Apache-2.0
"""Where converted graphs are kept, by the content of what they were made from."""

import atexit
import hashlib
import logging
import os
import shutil
from functools import cache
from importlib.resources import files
from pathlib import Path
from tempfile import mkdtemp

import torch

from monodvps_ros.network import read_card, weights_file

log = logging.getLogger(__name__)

#: Names the folder of the cache; else it lies under $XDG_CACHE_HOME, or ~/.cache.
CACHE_VARIABLE = "MONODVPS_CACHE"


def cache_folder(weights: str | Path) -> Path:
    """Return the folder for what is made of weights; it need not exist.

    Its name is a digest of the weights file, of the sources that make a graph of it, and of torch's version, so that
    what is found there always fits. Folders may be deleted at any time.

    Raises:
        WeightsError: as `read_card` says.
    """
    digest = hashlib.sha256(torch.__version__.encode())
    package = Path(str(files("monodvps_ros")))
    for source in sorted([*package.glob("network/*.py"), *package.glob("engines/*.py")]):
        digest.update(source.read_bytes())
    if str(weights) != "random":
        path = weights_file(weights)
        read_card(path)  # whatever is no weights file is refused before all of it is read
        digest.update(path.read_bytes())
    return _root() / digest.hexdigest()[:32]


def _root() -> Path:
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "monodvps_ros"
    except RuntimeError:  # as in a container that runs as a user whom nobody knows there
        return _of_this_process()


@cache
def _of_this_process() -> Path:
    log.warning("environment variable HOME is not set: converted graphs are lost at the end; set %s to a folder",
                CACHE_VARIABLE)  # fmt: skip
    folder = Path(mkdtemp(prefix="monodvps_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
