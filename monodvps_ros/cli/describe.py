# SPDX-License-Identifier: Apache-2.0
"""`monodvps describe`: the parts of a network, their cost, and the model card of its weights."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from monodvps_ros.cli.overrides import split_words
from monodvps_ros.config import NetworkConfig, TrainingConfig, load
from monodvps_ros.errors import shortened
from monodvps_ros.network import measure_complexity, network_config, read_card, weights_file

_WEIGHTS_SUFFIX = ".safetensors"


def describe(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE] [NAME=VALUE]...",
            help="Training configuration (YAML), weights file or shipped name (street, drives); settings by dotted "
            "name, such as network.encoder=resnet50. Without a file: the default network.",
        ),
    ] = None,
) -> None:
    """Show the parameters and multiply-adds of each part of a network, and the model card of a weights file."""
    files, overrides = split_words(words or [], TrainingConfig)
    if len(files) > 1:
        raise typer.BadParameter(f"expected one file but got {', '.join(files)}")
    path = weights_file(files[0]) if files else None
    console = Console(markup=False)
    if path is not None and path.suffix == _WEIGHTS_SUFFIX:
        header = read_card(path)
        config = network_config(path, header)
        card = {name: header[name] for name in ("format", "card")}
        console.print_json(json.dumps(card), ensure_ascii=True)  # a card may hold what no terminal should get
    else:
        config = load(TrainingConfig, path, overrides).network
    console.print(_table(config))


def _table(config: NetworkConfig) -> Table:
    size = f"{config.input_height} x {config.input_width}"
    table = Table(title=f"{shortened(config.encoder)}, output stride {config.output_stride}, {size}")
    table.add_column("part", overflow="fold")
    for column in ("parameters", "multiply-adds in training", "multiply-adds live"):
        table.add_column(column, justify="right")
    costs = measure_complexity(config)
    for cost in costs:
        table.add_row(
            cost.name, f"{cost.parameters:,}", _giga(cost.training_multiply_adds), _giga(cost.live_multiply_adds)
        )
    table.add_section()
    table.add_row(
        "total",
        f"{sum(cost.parameters for cost in costs):,}",
        _giga(sum(cost.training_multiply_adds for cost in costs)),
        _giga(sum(cost.live_multiply_adds for cost in costs)),
        style="bold",
    )
    return table


def _giga(count: int) -> str:
    return f"{count / 1e9:.3f} G"
