# SPDX-License-Identifier: Apache-2.0
"""`monodvps compare`: two weights files on the same frames."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from monodvps_ros.cli.options import Rectified, RectifiedOption
from monodvps_ros.errors import DataError

#: Decimals shown; what differs by less is the same.
_DIGITS = 3
#: Figures of which less is better.
_LESS_IS_BETTER = {"absRel"}


def compare(
    data: Annotated[Path, typer.Option(help="Frames with truth; with pseudo-labels, agreement with their teacher.")],
    weights: Annotated[str, typer.Option(help="Weights file.")],
    against: Annotated[str, typer.Option(help="Weights file to compare with; 'shipped' for the one that ships.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Look at this many frames at most.")] = None,
    image_topic: Annotated[str | None, typer.Option(help="Of a recording with several cameras.")] = None,
    rectified: RectifiedOption = Rectified.AUTO,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Measure two weights files on the same frames: PQ, VPQ, and absRel after median scaling."""
    from monodvps_ros.data import open_source  # noqa: PLC0415 (imports of torch take seconds; --help must not)
    from monodvps_ros.data.image_files import write_bytes  # noqa: PLC0415
    from monodvps_ros.data.pseudo_labels import is_pseudo_labelled  # noqa: PLC0415
    from monodvps_ros.perception import resolve_device  # noqa: PLC0415
    from monodvps_ros.training.teachers import load_own  # noqa: PLC0415
    from monodvps_ros.training.validation import figures, validate  # noqa: PLC0415

    chosen = resolve_device(device)
    networks = {role: load_own(name, chosen) for role, name in (("against", against), ("weights", weights))}
    source = open_source(data, image_topic=image_topic, rectified=rectified.value)
    count = len(source) if frames is None else min(frames, len(source))
    guessed = is_pseudo_labelled(data)
    results: dict[str, Any] = {"data": str(data), "frames": count, "reference": "pseudo-labels" if guessed else "truth"}
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        for role, network in networks.items():
            task = progress.add_task(f"measuring {Path(against if role == 'against' else weights).name}", total=count)
            scores = validate(network, _told(source, lambda task=task: progress.advance(task)), count, guessed)
            results[role] = {"description": network.description, **figures(scores)}
    if len(results["weights"]) == 1:
        raise DataError(f"{data}: holds no truth to measure against, neither panoptic labels nor depth")
    if json_file is not None:
        write_bytes(json_file, (json.dumps(results, indent=2) + "\n").encode())
    _print(results)


def _told(samples: Iterable[Any], tell: Any) -> Iterator[Any]:
    for sample in samples:
        yield sample
        tell()


def _print(results: dict[str, Any]) -> None:
    table = Table(title=f"{results['frames']} frames, panoptic against {results['reference']}")
    for title in ("", "before", "after", "change"):
        table.add_column(title, justify="left" if not title else "right")
    for name, after in results["weights"].items():
        if name == "description":
            continue
        before = results["against"][name]
        change = round(after - before, _DIGITS)
        verdict = "better" if (change < 0) == (name in _LESS_IS_BETTER) else "worse"
        table.add_row(
            name,
            f"{before:.{_DIGITS}f}",
            f"{after:.{_DIGITS}f}",
            f"{change:+.{_DIGITS}f} {verdict if change else 'same'}",
        )
    Console().print(table)
