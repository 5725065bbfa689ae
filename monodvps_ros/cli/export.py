# SPDX-License-Identifier: Apache-2.0
"""`monodvps export`: export a checkpoint to a file that the node runs."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from monodvps_ros.errors import ConfigError
from monodvps_ros.evaluation.result import CARD_KEY, for_card, read_result
from monodvps_ros.files import owned, partials

_ENDINGS = {"safetensors": ".safetensors", "onnx": ".onnx", "aoti": ".pt2"}


def export(
    checkpoint: Annotated[
        Path,
        typer.Option(help="Checkpoint of a training run (OUT/checkpoints/last.ckpt or best.ckpt), or a weights file."),
    ],
    out: Annotated[
        Path, typer.Option(help="Output file; its suffix fits the format: .safetensors, .onnx or, for aoti, .pt2.")
    ],
    format_: Annotated[
        Literal["safetensors", "onnx", "aoti"],
        typer.Option(
            "--format",
            help="safetensors: weights; onnx: graph of fixed input size; aoti: graph compiled for this machine.",
        ),
    ] = "safetensors",
    half: Annotated[bool, typer.Option("--half", help="Store weights as float16 (safetensors only).")] = False,
    score: Annotated[
        Path | None, typer.Option(help="JSON file of monodvps evaluate, whose figures are stored in the model card.")
    ] = None,
    license_: Annotated[
        str, typer.Option("--license", help="Licence of the weights, which their training data may restrict.")
    ] = "",
    device: Annotated[str, typer.Option(help="Device that an aoti package is compiled for: cpu or cuda.")] = "cpu",
) -> None:
    """Export a checkpoint with its model card to a file that the node and the other commands run."""
    from monodvps_ros.training.export import (  # noqa: PLC0415 (Lightning takes seconds; --help must not)
        export_checkpoint,
        export_checkpoint_graph,
    )

    if out.suffix != _ENDINGS[format_]:
        raise ConfigError(f"--out is {out}, but a file of format {format_} ends in {_ENDINGS[format_]}")
    measured: dict[str, Any] = {} if score is None else {CARD_KEY: for_card(read_result(score))}
    if license_:
        measured["license"] = license_
    if half and format_ != "safetensors":
        raise ConfigError(f"--half is for safetensors; a graph of format {format_} contains float32")
    with owned(out, is_file=True):
        for unfinished in partials(out.parent, f"{out.name}.*"):  # of an export that was killed
            unfinished.unlink()
        if format_ == "safetensors":
            card = export_checkpoint(checkpoint, out, half, measured)
        else:
            card = export_checkpoint_graph(checkpoint, out, device, measured)
    size = out.stat().st_size / 1e6
    figures = ", ".join(f"{name} {value:.3f}" for name, value in card.get("metrics", {}).items()) or "no figures"
    Console(markup=False).print(
        f"{out} ({size:.1f} MB) from step {card.get('steps', 'unknown')}: {figures}", soft_wrap=True
    )
