# SPDX-License-Identifier: Apache-2.0
"""How a command ends whose input was not read whole."""

from collections.abc import Sequence

from rich.console import Console

#: Exit code of a command that did its work, on an input of which frames are missing, damaged or left out.
EXIT_INCOMPLETE = 3


def exit_code(damage: Sequence[str]) -> int:
    """Tell on stderr what is missing of the input, and return the exit code: 0, or `EXIT_INCOMPLETE`."""
    console = Console(markup=False, stderr=True, highlight=False)
    for sentence in damage:
        console.print(f"the input is incomplete: {sentence}", soft_wrap=True)
    return EXIT_INCOMPLETE if damage else 0
