# SPDX-License-Identifier: Apache-2.0
"""Settings on the command line: words of the form NAME=VALUE, NAME being a setting's dotted name."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from monodvps_ros.config import settings
from monodvps_ros.config.tree import Config
from monodvps_ros.errors import ConfigError


def split_words(words: Sequence[str], config_class: type[Config]) -> tuple[list[str], dict[str, str]]:
    """Part settings from all other words.

    Args:
        words: of the command line. One that holds ``=`` is a setting unless a file of that name exists.
        config_class: the configuration whose settings may be named.

    Returns:
        The other words in their order, and the settings: dotted name to value as a text.

    Raises:
        ConfigError: a name is not a setting; the message has the nearest one.
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
            raise ConfigError(f"'{word}': no setting '{name}'; near: {', '.join(near)}")
        overrides[name] = value
    return others, overrides


def only_settings(words: Sequence[str], config_class: type) -> dict[str, str]:
    """Read words that all are settings, as `split_words` does.

    Raises:
        ConfigError: a word is no setting.
    """
    others, overrides = split_words(words, config_class)
    if others:
        raise ConfigError(f"'{others[0]}' is no setting; expected NAME=VALUE")
    return overrides
