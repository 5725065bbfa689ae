# SPDX-License-Identifier: Apache-2.0
"""Entry point of the `monodvps` command line."""

from monodvps_ros.signals import interrupt_ends_process, interrupt_raises


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process.

    Args:
        arguments: command-line arguments; None: those of the process.

    Raises:
        SystemExit: always; 0 for success, 2 for a wrong command line or a `MonoDVPSError` (one line on stderr),
            3 where the work was done but frames of the input are missing, 130 for Ctrl-C, else what the command
            returns.
    """
    interrupt_ends_process()  # before anything large is imported
    try:
        from monodvps_ros.cli.application import run  # noqa: PLC0415

        run(arguments)
    finally:
        interrupt_raises()


if __name__ == "__main__":
    main()
