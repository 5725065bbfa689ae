# SPDX-License-Identifier: Apache-2.0
"""Settings on the command line: arguments of the form NAME=VALUE, where NAME is a setting's dotted name."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from monodvps_ros.config import settings
from monodvps_ros.config.tree import Config
from monodvps_ros.errors import ConfigError


def split_words(words: Sequence[str], config_class: type[Config]) -> tuple[list[str], dict[str, str]]:
    """Separate settings from all other arguments.

    Args:
        words: command-line arguments. One that contains ``=`` is a setting unless a file of that name exists.
        config_class: the configuration whose settings may be named.

    Returns:
        The other arguments in their order, and the settings: dotted name to value as text.

    Raises:
        ConfigError: a name is not a setting; the message suggests similar ones.
    """
    names = [entry.name for entry in settings(config_class)]
    others: list[str] = []
    overrides: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or Path(word).exists():
            others.append(word)
            continue
        if name not in names:
            near = difflib.get_close_matches(name, names, 3) or names[:3]
            raise ConfigError(f"'{word}': no setting '{name}'; similar: {', '.join(near)}")
        overrides[name] = value
    return others, overrides


def only_settings(words: Sequence[str], config_class: type) -> dict[str, str]:
    """Read arguments that must all be settings, as `split_words` does.

    Raises:
        ConfigError: an argument is not a setting.
    """
    others, overrides = split_words(words, config_class)
    if others:
        raise ConfigError(f"'{others[0]}' is not a setting; expected NAME=VALUE")
    return overrides
