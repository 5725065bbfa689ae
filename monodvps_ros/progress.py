# SPDX-License-Identifier: Apache-2.0
"""The progress bar of all commands: drawn on stderr, and on terminals alone."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")


def progress_bar(console: Console | None = None, transient: bool = True) -> Progress:
    """Make a progress bar: description, bar, count, time elapsed and remaining.

    Args:
        console: to draw on; None: stderr.
        transient: remove the bar at the end.
    """
    console = console or Console(markup=False, stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=transient, disable=not console.is_terminal)


def tracked(
    items: Iterable[T], description: str, total: int | None, console: Console | None = None, transient: bool = True
) -> Iterator[T]:
    """Yield items and draw how many of the total were."""
    with progress_bar(console, transient) as progress:
        yield from progress.track(items, total=total, description=description)
