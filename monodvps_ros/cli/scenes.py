# SPDX-License-Identifier: Apache-2.0
"""`monodvps scenes`: render synthetic drives with exact ground truth."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from monodvps_ros.cli.options import Split, parse_size
from monodvps_ros.config import SceneConfig, settings
from monodvps_ros.errors import ConfigError, DataError, counted
from monodvps_ros.files import owned
from monodvps_ros.progress import progress_bar, tracked
from monodvps_ros.scenes import Drive, write_bag, write_cityscapes_dvps
from monodvps_ros.scenes.drives import split
from monodvps_ros.scenes.fingerprints import (
    Likeness,
    stored_fingerprints,
    stored_platform,
    this_platform,
    written_fingerprint,
)
from monodvps_ros.scenes.split_files import is_written, write_drives
from monodvps_ros.types import Sample

#: Options that go with --split.
_WITH_SPLIT = ("out", "split_name", "format_", "device", "jobs", "check")
_DEFAULTS = {entry.name: entry for entry in settings(SceneConfig)}


def _option(name: str, *flags: str) -> Any:
    entry = _DEFAULTS[name]
    unit = f" ({entry.unit})" if entry.unit else ""
    return typer.Option(*flags, help=entry.description + unit)


def scenes(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Output folder; existing drives in it are kept.")],
    split_name: Annotated[
        Split | None,
        typer.Option("--split", help="Render this split of 'drives' (docs/drives.md) instead of a single drive."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Check the rendered drives of --split in --out against their fingerprints instead of rendering.",
        ),
    ] = False,
    jobs: Annotated[int, typer.Option(help="Number of drives of a split to render in parallel.", min=1, max=1024)] = 1,
    seed: Annotated[int, typer.Option(help="Random seed; also the sequence number.")] = 0,
    format_: Annotated[
        Literal["bag", "cityscapes-dvps"], typer.Option("--format", help="Format of the drives.")
    ] = "bag",
    size: Annotated[str, typer.Option(help="Image size in pixels, HxW.")] = "192x640",
    frames: Annotated[int, _option("frames", "--frames")] = _DEFAULTS["frames"].default,
    rate: Annotated[float, _option("rate_hz", "--rate")] = _DEFAULTS["rate_hz"].default,
    start: Annotated[float, _option("start_s", "--start")] = _DEFAULTS["start_s"].default,
    focal: Annotated[float, _option("focal_px", "--focal")] = _DEFAULTS["focal_px"].default,
    height: Annotated[float, _option("camera_height_m", "--height")] = _DEFAULTS["camera_height_m"].default,
    pitch: Annotated[float, _option("camera_pitch_deg", "--pitch")] = _DEFAULTS["camera_pitch_deg"].default,
    speed: Annotated[float, _option("max_speed_mps", "--speed")] = _DEFAULTS["max_speed_mps"].default,
    traffic: Annotated[float, _option("traffic", "--traffic")] = _DEFAULTS["traffic"].default,
    large_vehicles: Annotated[int, _option("large_vehicles", "--large-vehicles")] = _DEFAULTS["large_vehicles"].default,
    weather: Annotated[str, _option("weather", "--weather")] = _DEFAULTS["weather"].default,
    view_distance: Annotated[float, _option("view_distance_m", "--view-distance")] = _DEFAULTS[
        "view_distance_m"
    ].default,
    antialias: Annotated[bool, _option("antialias", "--antialias/--no-antialias")] = _DEFAULTS["antialias"].default,
    device: Annotated[str, _option("device", "--device")] = _DEFAULTS["device"].default,
) -> None:
    """Render synthetic drives: images, depth, panoptic ids, optical flow to the previous frame, poses and K."""
    if split_name is not None:
        _refuse_drive_options(context)
        if check:
            check_split(split_name, out, format_ == "bag")
        else:
            with owned(out):
                render_split(split_name, out, format_ == "bag", device, jobs)
        return
    if check:
        raise ConfigError("--check requires --split: there are no fingerprints of other drives")
    if jobs != 1:
        raise ConfigError("--jobs requires --split: a single drive is rendered by one process")
    rows, columns = parse_size(size)
    config = SceneConfig(
        frames=frames, rate_hz=rate, start_s=start, height=rows, width=columns, focal_px=focal, camera_height_m=height,
        camera_pitch_deg=pitch, max_speed_mps=speed, traffic=traffic, large_vehicles=large_vehicles,
        weather=weather, view_distance_m=view_distance, antialias=antialias, device=device,
    )  # fmt: skip
    render_drive(Drive(config, seed), out, format_ == "bag")


def render_drive(drive: Drive, out: Path, as_bag: bool) -> None:
    """Render one drive and print its pace."""
    begin = time.perf_counter()
    with owned(out):
        path = (write_bag if as_bag else write_cityscapes_dvps)(drive, out, _show)
    frames, rows, columns = drive.config.frames, drive.config.height, drive.config.width
    pace = frames / (time.perf_counter() - begin)
    done = f"{counted(frames, 'frame')} of {rows} x {columns}, {pace:.1f} frames/s"
    Console(markup=False).print(f"{path}: {done}", soft_wrap=True)


def _refuse_drive_options(context: typer.Context) -> None:
    """Refuse options of a single drive that are given together with --split.

    Raises:
        ConfigError: there is one.
    """
    for parameter in context.command.params:
        origin = context.get_parameter_source(parameter.name or "")
        if origin is not None and origin.name == "COMMANDLINE" and parameter.name not in _WITH_SPLIT:
            raise ConfigError(f"{parameter.opts[0]} cannot be combined with --split, whose drives are fixed; remove it")


def render_split(name: str, out: Path, as_bag: bool, device: str, jobs: int) -> None:
    """Render the missing drives of a split and print progress."""
    console = Console(markup=False, stderr=True, highlight=False)
    drives = list(split(name))
    missing = [drive for drive in drives if not is_written(drive, out, as_bag)]
    frames = sum(drive.config.frames for drive in missing)
    present = f"{counted(len(drives), 'drive')}, {len(drives) - len(missing)} present"
    console.print(f"{name}: {present}; rendering {counted(frames, 'frame')}")
    begin, done = time.perf_counter(), 0
    with progress_bar(console, transient=False) as progress:
        task = progress.add_task("rendering", total=frames)
        for drive in write_drives(missing, out, as_bag, device, jobs):
            done += drive.config.frames
            progress.update(task, completed=done)
            pace = done / (time.perf_counter() - begin)
            console.print(f"{drive.folder}/{drive.name}: written ({done}/{frames} frames, {pace:.1f} frames/s)")
    Console(markup=False).print(f"{out}: {name} is complete", soft_wrap=True, highlight=False)


def check_split(name: str, out: Path, as_bag: bool) -> None:
    """Compare the drives of a split with the stored fingerprints and print the result.

    Raises:
        DataError: a drive is missing.
        Exit: with code 1; a drive differs.
    """
    console = Console(markup=False, highlight=False)
    stored, others = stored_fingerprints(), 0
    for drive in split(name):
        if not is_written(drive, out, as_bag):
            raise DataError(f"{out / drive.folder}: {drive.name} is missing; render it without --check")
        found = written_fingerprint(drive, out, as_bag)
        likeness = stored[drive.name].compare(found)
        others += likeness is Likeness.OTHER
        console.print(f"{drive.folder}/{drive.name}  {found.sha256}  {likeness.value}", soft_wrap=True)
    here, there = (", ".join(made_on.values()) for made_on in (this_platform(), stored_platform()))
    console.print(f"stored on: {there}; here: {here}", soft_wrap=True)
    if others:
        raise typer.Exit(1)


def _show(samples: Iterable[Sample]) -> Iterator[Sample]:
    return tracked(samples, "rendering", len(samples) if isinstance(samples, Drive) else None, transient=False)
