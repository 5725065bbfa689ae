# SPDX-License-Identifier: Apache-2.0
"""Writes a split of 'drives': drives that are there are kept, half ones are rendered again."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

import torch

from monodvps_ros.data.bag import is_bag
from monodvps_ros.data.formats.cityscapes_dvps import IMAGE
from monodvps_ros.scenes.drive import Drive
from monodvps_ros.scenes.drives import SplitDrive
from monodvps_ros.scenes.writers import write_bag, write_cityscapes_dvps


def is_written(drive: SplitDrive, out: Path, as_bag: bool) -> bool:
    """Tell whether a drive is there, whole.

    Args:
        drive: of a split.
        out: folder of the data set.
        as_bag: as a recording; else as a sequence of a Cityscapes-DVPS folder.
    """
    if as_bag:
        return is_bag(out / drive.folder / drive.name)  # a recording appears only once it is whole
    return len(list(_files(drive, out, IMAGE))) == drive.config.frames


def write_drives(
    drives: list[SplitDrive], out: Path, as_bag: bool, device: str = "cpu", jobs: int = 1
) -> Iterator[SplitDrive]:
    """Render drives, and give each once it is written.

    Args:
        drives: of one split, none of them written yet; their order is that of the sequences of Cityscapes-DVPS.
        out: folder of the data set.
        as_bag: write recordings; else Cityscapes-DVPS.
        device: where to render.
        jobs: processes that render side by side; 1 renders in this one.

    Raises:
        DataError: a file cannot be written.
        DeviceError: the device is not available.
    """
    if jobs == 1:
        for drive in drives:
            _write(drive, out, as_bag, device)
            yield drive
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads of torch may hang
    with ProcessPoolExecutor(jobs, context, initializer=_share_cores, initargs=(jobs,)) as pool:
        started = {pool.submit(_write, drive, out, as_bag, device): drive for drive in drives}
        try:
            for done in as_completed(started):
                done.result()
                yield started[done]
        finally:
            for future in started:
                future.cancel()


def _share_cores(jobs: int) -> None:
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))


def _write(drive: SplitDrive, out: Path, as_bag: bool, device: str) -> None:
    rendered = Drive(replace(drive.config, device=device), drive.seed)
    folder = out / drive.folder
    if as_bag:
        write_bag(rendered, folder)
        return
    for file in _files(drive, out, "*"):
        file.unlink()
    write_cityscapes_dvps(rendered, folder, split=drive.split, sequence=drive.index)


def _files(drive: SplitDrive, out: Path, kind: str) -> Iterator[Path]:
    folder = out / drive.folder / "video_sequence" / drive.split
    return folder.glob(f"{drive.index:06d}_*_{kind}.png")
