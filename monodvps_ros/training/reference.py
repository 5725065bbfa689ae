# SPDX-License-Identifier: Apache-2.0
"""Makes config/train.yaml: every setting of training with its default and what it means."""

from pathlib import Path

from monodvps_ros.config import TrainingConfig
from monodvps_ros.config.commented import commented_yaml

REFERENCE_FILE = Path("config/train.yaml")


def reference() -> str:
    """Return the file's text."""
    lines = [
        "# SPDX-License-Identifier: Apache-2.0",
        "# Every setting of training with its default. Made by: python -m monodvps_ros.training.reference",
        "# On the command line: monodvps train ... loss.depth=10 network.encoder=resnet50",
        *commented_yaml(TrainingConfig),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    REFERENCE_FILE.write_text(reference(), encoding="utf-8")
