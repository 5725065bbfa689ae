# SPDX-License-Identifier: Apache-2.0
"""`monodvps export`: from a checkpoint to the weights file that the node runs."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def export(
    checkpoint: Annotated[
        Path, typer.Option(help="Checkpoint of a training run: OUT/checkpoints/last.ckpt, best.ckpt.")
    ],
    out: Annotated[Path, typer.Option(help="Weights file to write, .safetensors.")],
    half: Annotated[bool, typer.Option("--half", help="Store float16, half the size.")] = False,
) -> None:
    """Export a checkpoint to a weights file with its model card."""
    from monodvps_ros.training.export import export_checkpoint  # noqa: PLC0415 (Lightning takes seconds; --help must not)

    card = export_checkpoint(checkpoint, out, half)
    size = out.stat().st_size / 1e6
    figures = ", ".join(f"{name} {value:.3f}" for name, value in card["metrics"].items()) or "no figures"
    Console().print(f"{out} ({size:.1f} MB) from step {card['steps']}: {figures}", soft_wrap=True)
