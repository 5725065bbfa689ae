# SPDX-License-Identifier: Apache-2.0
"""Makes config/train.yaml: every setting of training with its default and what it means."""

import json
import textwrap
from pathlib import Path

from monodvps_ros.config import Setting, TrainingConfig, settings

REFERENCE_FILE = Path("config/train.yaml")
_WIDTH = 108


def reference() -> str:
    """Return the file's text."""
    lines = [
        "# SPDX-License-Identifier: Apache-2.0",
        "# Every setting of training with its default. Made by: python -m monodvps_ros.training.reference",
        "# On the command line: monodvps train ... loss.depth=10 network.encoder=resnet50",
    ]
    open_groups: list[str] = []
    for setting in settings(TrainingConfig):
        *groups, name = setting.name.split(".")
        for depth, group in enumerate(groups):
            if open_groups[depth : depth + 1] != [group]:
                lines.append(f"{_indent(depth)}{group}:")
        open_groups = groups
        indent = _indent(len(groups))
        lines += [f"{indent}# {line}" for line in textwrap.wrap(_meaning(setting), _WIDTH - len(indent))]
        default = list(setting.default) if isinstance(setting.default, tuple) else setting.default
        lines.append(f"{indent}{name}: {json.dumps(default)}")
    return "\n".join(lines) + "\n"


def _indent(depth: int) -> str:
    return "  " * depth


def _meaning(setting: Setting) -> str:
    limits = [", ".join(setting.choices)] if setting.choices else []
    if setting.at_least is not None and setting.at_most is not None:
        limits.append(f"{setting.at_least:g} to {setting.at_most:g}")
    elif setting.at_least is not None:
        limits.append(f"at least {setting.at_least:g}")
    if setting.unit:
        limits.append(setting.unit)
    return f"{setting.description} [{'; '.join(limits)}]" if limits else setting.description


if __name__ == "__main__":
    REFERENCE_FILE.write_text(reference(), encoding="utf-8")
