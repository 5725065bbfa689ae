# SPDX-License-Identifier: Apache-2.0
"""YAML files with every setting of a configuration at its default, each below a comment that describes it."""

import json
import textwrap
from collections.abc import Iterator

from monodvps_ros.config.tree import Config, Setting, settings

_WIDTH = 110


def commented_yaml(config_class: type[Config], indent: str = "") -> Iterator[str]:
    """Yield the lines of a YAML file with every setting of a configuration.

    Args:
        config_class: the configuration.
        indent: put before each line.
    """
    open_groups: list[str] = []
    for setting in settings(config_class):
        *groups, name = setting.name.split(".")
        for depth, group in enumerate(groups):
            if open_groups[depth : depth + 1] != [group]:
                yield f"{indent}{'  ' * depth}{group}:"
        open_groups = groups
        here = indent + "  " * len(groups)
        yield from textwrap.wrap(_meaning(setting), _WIDTH, initial_indent=f"{here}# ", subsequent_indent=f"{here}# ")
        yield f"{here}{name}: {json.dumps(setting.plain_default)}"  # texts in quotes, for an unquoted true is none


def _meaning(setting: Setting) -> str:
    limits = [setting.allowed, setting.unit, "fixed while the node runs" if setting.read_only else ""]
    said = "; ".join(limit for limit in limits if limit)
    return f"{setting.description} [{said}]" if said else setting.description
