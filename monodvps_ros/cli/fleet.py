# SPDX-License-Identifier: Apache-2.0
"""`monodvps fleet`: one command over many recordings."""

import signal
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from monodvps_ros.data.incomplete import EXIT_INCOMPLETE
from monodvps_ros.errors import counted
from monodvps_ros.signals import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from monodvps_ros.fleet import Outcome

EXIT_FAILED = 1
TOTALS_FILE = "totals.json"


def fleet(
    command: Annotated[str, typer.Argument(help="predict, pseudo-label or evaluate.")],
    recordings: Annotated[
        Path, typer.Argument(help="Text file with one recording per line, or folder whose entries are the recordings.")
    ],
    out: Annotated[
        Path, typer.Option(help="Output folder, with one folder per recording; an interrupted run is continued.")
    ],
    options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- OPTIONS]...",
            help="Options of the command, after '--'; {name} stands for the recording's name, such as in "
            "--predictions PREDICTIONS/{name}.",
        ),
    ] = None,
    ray: Annotated[
        str, typer.Option(help="Address of a Ray cluster, or 'local'. Default: one recording after the other.")
    ] = "",
    cpus: Annotated[int, typer.Option(min=1, max=1024, help="CPU threads for each recording.")] = 1,
    gpus: Annotated[float, typer.Option(min=0.0, help="GPUs for each recording on Ray, such as 0.25.")] = 0.0,
    retries: Annotated[
        int, typer.Option(min=0, max=1000, help="Times a recording is started again if its worker dies.")
    ] = 2,
) -> int:
    """Run predict, pseudo-label or evaluate on each of many recordings, and evaluate them all together.

    Finished recordings are kept; the others are started again. Results do not depend on where and in which order
    recordings are processed. Exit code 1: recordings failed, listed at the end; 3: finished, but input frames are
    missing.
    """
    from monodvps_ros import fleet as run  # noqa: PLC0415 (torch takes seconds to import, and --help must not)
    from monodvps_ros.cli.main import main  # noqa: PLC0415

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops as Ctrl-C does
    tasks = run.make_tasks(command, run.list_recordings(recordings, out), out, options or [])
    console = Console(markup=False, stderr=True, highlight=False)
    with run.fleet_folder(out, command):
        for kept in filter(None, (task.finished for task in tasks)):
            if kept.code == EXIT_INCOMPLETE:
                console.print(f"{kept.name}: kept, incomplete {kept.message}".rstrip(), soft_wrap=True)
        try:
            failed = _run_all(run.run_tasks(tasks, main, run.Resources(ray, cpus, gpus, retries)), len(tasks), console)
        except KeyboardInterrupt:
            console.print("interrupted; the same command processes the recordings that are not finished")
            return EXIT_INTERRUPTED
        finished = [(task, outcome) for task in tasks if (outcome := task.finished)]
        for outcome in failed:
            console.print(f"failed: {outcome.name}: {outcome.message}", soft_wrap=True)
        if command == "evaluate" and finished:
            _merge([task.out / TOTALS_FILE for task, _ in finished], out / run.RESULT_FILE)
    incomplete = any(outcome.code == EXIT_INCOMPLETE for _, outcome in finished)
    return EXIT_FAILED if failed else EXIT_INCOMPLETE if incomplete else 0


def _run_all(outcomes: "Iterable[Outcome]", total: int, console: Console) -> "list[Outcome]":
    """Tell each outcome as it comes, and the numbers at the end; return those that failed."""
    failed, count = [], 0
    for outcome in outcomes:
        count += 1
        state = "failed" if outcome.has_failed else f"{outcome.seconds:.1f} s"
        console.print(f"{outcome.name}: {state} {outcome.message}".rstrip(), soft_wrap=True)
        failed += [outcome] if outcome.has_failed else []
    numbers = f"{count - len(failed)} done, {total - count} kept, {len(failed)} failed"
    console.print(f"{counted(total, 'recording')}: {numbers}")
    return failed


def _merge(totals: list[Path], file: Path) -> None:
    from monodvps_ros.evaluation.result import figures_table, write_result  # noqa: PLC0415
    from monodvps_ros.evaluation.totals import merge_totals  # noqa: PLC0415

    result: dict[str, Any] = merge_totals(totals)
    write_result(file, result)
    columns = {f"scaling {scaling}": figures for scaling, figures in result["figures"].items()}
    title = f"{counted(len(totals), 'recording')}, {counted(result['frames'], 'frame')}"
    console = Console(markup=False, highlight=False)
    console.print(figures_table(columns, title))
    console.print(f"wrote {file}", soft_wrap=True)
