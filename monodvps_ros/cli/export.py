# SPDX-License-Identifier: Apache-2.0
"""`monodvps export`: from a checkpoint to the file that the node runs."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from monodvps_ros.errors import ConfigError
from monodvps_ros.evaluation.result import CARD_KEY, for_card, read_result


class Format(str, Enum):
    """What to write."""

    SAFETENSORS = "safetensors"
    ONNX = "onnx"
    AOTI = "aoti"


_ENDINGS = {Format.SAFETENSORS: ".safetensors", Format.ONNX: ".onnx", Format.AOTI: ".pt2"}


def export(
    checkpoint: Annotated[
        Path, typer.Option(help="Checkpoint of a training run (OUT/checkpoints/last.ckpt, best.ckpt) or weights file.")
    ],
    out: Annotated[Path, typer.Option(help="File to write: .safetensors, .onnx, or .pt2 for aoti.")],
    format_: Annotated[
        Format,
        typer.Option("--format", help="Weights; or a graph of fixed size: ONNX, or compiled for this machine (aoti)."),
    ] = Format.SAFETENSORS,
    half: Annotated[bool, typer.Option("--half", help="Store float16, half the size; safetensors alone.")] = False,
    score: Annotated[
        Path | None, typer.Option(help="JSON of monodvps evaluate: its figures go into the card, for the demo to show.")
    ] = None,
    device: Annotated[str, typer.Option(help="Device that an aoti package is compiled for: cpu, cuda.")] = "cpu",
) -> None:
    """Export a checkpoint with its model card to a file that the node and the command line run."""
    from monodvps_ros.training.export import (  # noqa: PLC0415 (Lightning takes seconds; --help must not)
        export_checkpoint,
        export_checkpoint_graph,
    )

    if out.suffix != _ENDINGS[format_]:
        raise ConfigError(f"--out is {out}, but a file of format {format_.value} ends in {_ENDINGS[format_]}")
    measured = {} if score is None else {CARD_KEY: for_card(read_result(score))}
    if format_ is Format.SAFETENSORS:
        card = export_checkpoint(checkpoint, out, half, measured)
    elif half:
        raise ConfigError(f"--half is for safetensors; a graph of format {format_.value} holds float32")
    else:
        card = export_checkpoint_graph(checkpoint, out, device, measured)
    size = out.stat().st_size / 1e6
    figures = ", ".join(f"{name} {value:.3f}" for name, value in card.get("metrics", {}).items()) or "no figures"
    Console().print(f"{out} ({size:.1f} MB) from step {card.get('steps', 'unknown')}: {figures}", soft_wrap=True)
