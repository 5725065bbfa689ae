# SPDX-License-Identifier: Apache-2.0
"""Data formats, one module each: its ``FORMAT`` is found by the module being here."""

import pkgutil
from functools import cache
from glob import escape
from importlib import import_module
from pathlib import Path

from monodvps_ros.data.format import Format, PredictionLayout
from monodvps_ros.errors import ConfigError, DataError, shortened
from monodvps_ros.files import exists, partials


@cache
def formats() -> tuple[Format, ...]:
    """Return all formats in the order in which they are asked."""
    names = sorted(entry.name for entry in pkgutil.iter_modules(__path__))
    found: list[Format] = [import_module(f"{__name__}.{name}").FORMAT for name in names]
    return tuple(sorted(found, key=lambda each: each.fallback))


def find_format(path: Path) -> Format:
    """Find the format of a path.

    Raises:
        DataError: it does not exist, or is of an unknown format.
    """
    if not exists(path):
        unfinished = [str(each) for each in partials(path.parent, f"{escape(path.name)}.*") if each.is_dir()]
        hint = f"; what an interrupted recorder wrote is in {' and '.join(unfinished)}: give that" if unfinished else ""
        raise DataError(f"{shortened(str(path))}: does not exist{hint}")
    found = next((each for each in formats() if each.detects(path)), None)
    if found is None:
        raise DataError(f"{path}: is of an unknown format; expected {', or '.join(each.title for each in formats())}")
    return found


def measured_formats() -> dict[str, Format]:
    """Return the formats that are measured with constants of their own, by name."""
    return {each.rules.name: each for each in formats() if each.rules is not None}


def format_named(name: str) -> Format:
    """Return the format that is measured under a name.

    Raises:
        ConfigError: there is none.
    """
    named = measured_formats()
    if name not in named:
        raise ConfigError(f"no data set '{shortened(name)}'; there are: {', '.join(named)}")
    return named[name]


def prediction_layout(name: str) -> PredictionLayout:
    """Return a layout of predictions.

    Raises:
        ConfigError: there is none of that name.
    """
    layouts = {each.layout.name: each.layout for each in formats() if each.layout is not None}
    if name not in layouts:
        raise ConfigError(f"no layout of predictions '{shortened(name)}'; there are: {', '.join(layouts)}, and 'bag'")
    return layouts[name]
