# SPDX-License-Identifier: Apache-2.0
"""Settings on the command line: arguments of the form NAME=VALUE, where NAME is a setting's dotted name."""

import difflib
from collections.abc import Sequence
from typing import Any

from monodvps_ros.config import settings
from monodvps_ros.config.tree import Config
from monodvps_ros.errors import ConfigError, shortened
from monodvps_ros.files import exists, parse_yaml


def split_words(words: Sequence[str], config_class: type[Config]) -> tuple[list[str], dict[str, Any]]:
    """Separate settings from all other arguments.

    Args:
        words: command-line arguments. One that begins with a setting's name and ``=`` is a setting; one with any other
            name before ``=`` must be a file.
        config_class: the configuration whose settings may be named.

    Returns:
        The other arguments in their order, and the settings: dotted name to value, which is read as YAML
        (``0.5``, ``true``, ``[1, 2]``).

    Raises:
        ConfigError: a name is not a setting, and the message suggests similar ones; or a value is not YAML.
    """
    names = [entry.name for entry in settings(config_class)]
    others: list[str] = []
    overrides: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name in names:
            overrides[name] = value and parse_yaml(value, f"'{shortened(word)}'", ConfigError)
        elif not equals or exists(word):
            others.append(word)
        else:
            near = difflib.get_close_matches(name[:100], names, 3) or names[:3]
            raise ConfigError(f"'{shortened(word)}': no setting '{shortened(name)}'; similar: {', '.join(near)}")
    return others, overrides


def only_settings(words: Sequence[str], config_class: type[Config]) -> dict[str, Any]:
    """Read arguments that must all be settings, as `split_words` does.

    Raises:
        ConfigError: an argument is not a setting.
    """
    others, overrides = split_words(words, config_class)
    if others:
        raise ConfigError(f"'{shortened(others[0])}' is not a setting; expected NAME=VALUE")
    return overrides
