# SPDX-License-Identifier: Apache-2.0
"""`monodvps benchmark`: time each stage of the per-frame pipeline against the usual implementation."""

import importlib.util
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from monodvps_ros.cli.options import WEIGHTS_HELP
from monodvps_ros.errors import ConfigError, counted
from monodvps_ros.files import write_text
from monodvps_ros.optional import how_to_install

#: Camera sizes by their names in the report.
SIZES = {"375x1242": (375, 1242), "1080p": (1080, 1920)}
#: Stages in the order in which a frame passes them.
ORDER = (
    "decode", "resize", "network", "upsample", "grouping", "tracker", "scale", "cloud", "pack", "publish",
)  # fmt: skip
#: Calls that are not timed.
WARM_UP = 2


def benchmark(
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the timings to this JSON file.")] = None,
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Timed calls per stage.")] = 15,
    threads: Annotated[int, typer.Option(min=0, max=1024, help="Number of torch threads; 0: torch's default.")] = 0,
    weights: Annotated[str, typer.Option(help=f"{WEIGHTS_HELP}random.", show_default=False)] = "random",
    beside: Annotated[
        int,
        typer.Option(
            min=0, help="Instead of the stages, compare thread wait policies, alone and beside N busy processes."
        ),
    ] = 0,
    engine: Annotated[
        Literal["auto", "torch", "openvino", "onnxruntime"] | None,
        typer.Option(
            help="Engine of the frames with --beside; auto: the fastest, or torch for weights 'random'. Default: torch."
        ),
    ] = None,
) -> None:
    """Time each stage, ours and the usual implementation in alternation, and print the medians.

    Stages with ROS messages (decode, pack, publish) need rclpy and the built messages, and are otherwise listed as
    skipped. The JSON file contains `{"1080p": {"pack": {"ours_ms": …, "usual_ms": …, "usual": "…"}, …}, …}`, with
    --beside `{"step": {"one thread": {"alone": …, "beside": …, "ratio": …}, …}, "training": …}`.
    """
    if beside:
        _busy(beside, engine or "torch", weights, json_file)
        return
    if engine is not None:
        raise ConfigError(f"--engine {engine} applies to --beside N only; the stages run with torch")
    import torch  # noqa: PLC0415 (a second of start-up that --help does not need)

    from monodvps_ros.engines import thread_count  # noqa: PLC0415
    from monodvps_ros.network import load_network  # noqa: PLC0415

    if threads:
        torch.set_num_threads(thread_count(threads))
    console = Console(markup=False)
    console.print(
        f"{platform.machine()}, {counted(os.cpu_count() or 1, 'core')}; Python {platform.python_version()}, "
        f"torch {torch.__version__} with {counted(torch.get_num_threads(), 'thread')}; "
        f"{load_network(weights, 'cpu').description}, engine torch float32",
        soft_wrap=True,
    )
    report: dict[str, Any] = {}
    with_ros = all(importlib.util.find_spec(name) is not None for name in ("rclpy", "monodvps_ros.msg"))
    for name, size in SIZES.items():
        report[name], whole_ms = _measure(size, repeats, weights, with_ros)
        console.print(_table(name, report[name], whole_ms))
    if not with_ros:
        console.print(
            f"Skipped: decode, pack, publish (rclpy or the built messages are not installed; {how_to_install('rclpy')})"
        )
    if json_file is not None:
        write_text(json_file, json.dumps(report, indent=2) + "\n")
        console.print(f"Written: {json_file}")


def _busy(beside: int, engine: str, weights: str, json_file: Path | None) -> None:
    from monodvps_ros.benchmark.busy import POLICIES, ROUNDS, SECONDS, compare_policies  # noqa: PLC0415

    console, found = Console(), {}
    processes = counted(len(SECONDS) * ROUNDS * len(POLICIES), "process", "processes")
    Console(stderr=True, markup=False).print(f"{processes} of 10 to 20 s each, one after the other", soft_wrap=True)
    for work in SECONDS:
        model, found[work] = compare_policies(work, engine, weights, beside)
        unit = "frames/s of Pipeline.step" if work == "step" else "training steps/s of two images"
        table = Table(title=f"{unit}: best of {ROUNDS} processes, in turn", title_justify="left")
        others = f"beside {counted(beside, 'busy process', 'busy processes')}"
        for column in ("how threads wait", "alone", others, "beside / alone"):
            table.add_column(column, justify="left" if column.startswith("how") else "right")
        for name, row in found[work].items():
            table.add_row(name, *(f"{row[key]:.2f}" for key in ("alone", "beside", "ratio")))
        console.print(table)
        console.print(f"{model}\n", markup=False, soft_wrap=True)
    if json_file is not None:
        write_text(json_file, json.dumps(found, indent=2) + "\n")
        console.print(f"Written: {json_file}")


def in_turn_ms(ours: Callable[[], Any], usual: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Time two calls in alternation, so that a change of the machine's speed affects both.

    Returns:
        Median milliseconds of each.
    """
    for _ in range(WARM_UP):
        ours()
        usual()
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for call, times in zip((ours, usual), spent, strict=True):
            begun = time.perf_counter()
            call()
            times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(spent[0]), statistics.median(spent[1])


def _measure(size: tuple[int, int], repeats: int, weights: str, with_ros: bool) -> tuple[dict[str, Any], float]:
    """Return the stages in pipeline order, and the milliseconds of `Pipeline.step` with all outputs."""
    from monodvps_ros.benchmark.stages import Stage, make_frame, stages, whole_frame  # noqa: PLC0415
    from monodvps_ros.network import load_network  # noqa: PLC0415

    frame = make_frame(size, load_network(weights, "cpu").input_size)
    found: dict[str, Any] = {}

    def time_all(rows: list[Stage]) -> None:
        for stage in rows:
            ours_ms, usual_ms = in_turn_ms(stage.ours, stage.usual, repeats)
            found[stage.name] = {
                "ours_ms": round(ours_ms, 3),
                "usual_ms": round(usual_ms, 3),
                "usual": stage.usual_name,
            }

    time_all(stages(frame, weights))
    if with_ros:
        from monodvps_ros.benchmark.messages import message_stages  # noqa: PLC0415

        with message_stages(frame) as rows:
            time_all(rows)
    step = whole_frame(frame, weights)
    whole_ms, _ = in_turn_ms(step, lambda: None, repeats)
    return {name: found[name] for name in ORDER if name in found}, whole_ms


def _table(name: str, figures: dict[str, Any], whole_ms: float) -> Table:
    table = Table(title=f"{name}: median milliseconds", title_justify="left")
    for column in ("stage", "ours", "usual", "ours / usual", "the usual way"):
        table.add_column(column, justify="right" if column.startswith(("ours", "usual")) else "left")
    for stage, row in figures.items():
        ratio = f"{row['ours_ms'] / max(row['usual_ms'], 1e-9):.1e}"
        table.add_row(stage, f"{row['ours_ms']:.2f}", f"{row['usual_ms']:.2f}", f"{float(ratio):g}", row["usual"])
    table.caption = f"Pipeline.step with all outputs: {whole_ms:.0f} ms"
    return table
