# SPDX-License-Identifier: Apache-2.0
"""The `monodvps` command line: its commands, and how they end.

A command's module is imported only when the command is called, so that ``monodvps --help`` is fast and a missing
optional dependency affects only the command that needs it.
"""

import importlib
import importlib.metadata
import io
import sys
from pathlib import Path
from typing import Annotated, Any

from monodvps_ros.errors import MonoDVPSError, line_of, shortened
from monodvps_ros.optional import is_own, missing_dependency
from monodvps_ros.ros_environment import check_environment
from monodvps_ros.signals import EXIT_INTERRUPTED, interrupt_raises
from monodvps_ros.threads import let_threads_sleep

try:
    import typer
except ModuleNotFoundError as missing:
    sys.stderr.write(f"monodvps: {missing_dependency(missing, 'monodvps')}\n")
    sys.exit(2)

#: Name on the command line -> (module:function, one line of help).
COMMANDS = {
    "demo": (
        "monodvps_ros.cli.demo:demo",
        "Run the node on a drive over DDS and write a recording, images and a report.",
    ),
    "play": (
        "monodvps_ros.cli.play:play",
        "Publish a bag, a data set, a folder of images or a video as a ROS 2 camera.",
    ),
    "scenes": (
        "monodvps_ros.cli.scenes:scenes",
        "Render synthetic drives with exact ground truth to a bag or a data set.",
    ),
    "pseudo-label": (
        "monodvps_ros.cli.pseudo_label:pseudo_label",
        "Label a recording with teacher models, for training.",
    ),
    "train": ("monodvps_ros.cli.train:train", "Train the network on bags or data sets."),
    "predict": ("monodvps_ros.cli.predict:predict", "Write depth and panoptic predictions of a recording."),
    "view": ("monodvps_ros.cli.view:view", "Show predictions, live or recorded, in the rerun viewer."),
    "evaluate": ("monodvps_ros.cli.evaluate:evaluate", "Evaluate predictions or weights against ground truth."),
    "fleet": ("monodvps_ros.cli.fleet:fleet", "Predict, label or evaluate many recordings, on a Ray cluster too."),
    "ablations": (
        "monodvps_ros.cli.ablations:ablations",
        "Run the paper's ablations and compare them with its tables.",
    ),
    "benchmark": (
        "monodvps_ros.cli.benchmark:benchmark",
        "Time each stage of the pipeline against the usual implementation.",
    ),
    "export": ("monodvps_ros.cli.export:export", "Export a checkpoint to a file that the node runs."),
    "describe": (
        "monodvps_ros.cli.describe:describe",
        "Show the parts of a network, their cost, and the model card of its weights.",
    ),
}

#: Commands that always need ROS 2.
_WITH_ROS = {"demo", "play"}
#: Raised for a wrong command line, by click or by typer's copy of it.
_UsageError: Any = typer.BadParameter.__base__
#: Exit code of a user error; 3 is defined by `data.incomplete`.
EXIT_USER_ERROR = 2


def run(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process, as `main.main` says."""
    let_threads_sleep()
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # for names of files that are not in its encoding
    try:
        Path.cwd()
    except FileNotFoundError:  # libraries would blame something else
        sys.stderr.write("monodvps: the current folder was removed; change to one that exists\n")
        sys.exit(EXIT_USER_ERROR)
    try:
        _application()(args=arguments, prog_name="monodvps")
    except KeyboardInterrupt:  # before a command took over
        sys.exit(EXIT_INTERRUPTED)


def _application() -> typer.Typer:
    application = typer.Typer(
        help="Metric depth, panoptic masks with persistent ids and labelled point clouds from one camera.\n\n"
        "Exit codes: 0: success; 2: invalid argument or file; 3: finished, but input frames are missing.",
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    application.callback(no_args_is_help=True)(_options)
    for name, (target, text) in COMMANDS.items():
        application.command(
            name,
            help=text,
            add_help_option=False,  # the command's own module answers --help
            context_settings={
                "ignore_unknown_options": True,
                "allow_extra_args": True,
                "allow_interspersed_args": False,
            },
        )(_forward(target, checks_environment=name in _WITH_ROS))
    return application


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"monodvps {_version()}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Define the options before a command."""


def _version() -> str:
    try:
        return importlib.metadata.version("monodvps_ros")
    except importlib.metadata.PackageNotFoundError:
        return "(from a source tree, not installed)"


def _forward(target: str, checks_environment: bool) -> Any:
    """Return a command that forwards its arguments to the one in `target`, imported when called."""

    def call(context: typer.Context) -> None:
        module, _, function = target.partition(":")
        try:
            if checks_environment:  # before rclpy is imported
                check_environment()
            command = getattr(importlib.import_module(module), function)
            interrupt_raises()
            inner = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            inner.command()(command)
            code = typer.main.get_command(inner).main(
                args=list(context.args), prog_name=context.command_path, standalone_mode=False
            )
        except (MonoDVPSError, OSError) as error:
            typer.echo(f"monodvps: {line_of(error)}", err=True)
            raise typer.Exit(EXIT_USER_ERROR) from None
        except _UsageError as error:
            problem = shortened(error.format_message()).rstrip(".")
            typer.echo(f"monodvps: {problem}; see: {context.command_path} --help", err=True)
            raise typer.Exit(EXIT_USER_ERROR) from None
        except ImportError as error:
            if _was_interrupted(error):
                raise typer.Exit(EXIT_INTERRUPTED) from None
            if is_own(error):
                raise
            typer.echo(f"monodvps: {missing_dependency(error, context.command_path)}", err=True)
            raise typer.Exit(EXIT_USER_ERROR) from None
        except (KeyboardInterrupt, typer.Abort):
            raise typer.Exit(EXIT_INTERRUPTED) from None
        raise typer.Exit(code if isinstance(code, int) else 0)

    return call


def _was_interrupted(error: BaseException | None) -> bool:
    """Say whether Ctrl-C is behind an error: compiled modules turn it into an ImportError."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
