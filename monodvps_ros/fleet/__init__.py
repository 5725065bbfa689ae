# SPDX-License-Identifier: Apache-2.0
"""One command over many recordings, one after the other or on a Ray cluster; what is finished is not done again."""

from monodvps_ros.fleet.recordings import list_recordings
from monodvps_ros.fleet.running import Resources, run_tasks
from monodvps_ros.fleet.tasks import COMMANDS, RESULT_FILE, Outcome, Task, fleet_folder, make_tasks

__all__ = [
    "COMMANDS",
    "RESULT_FILE",
    "Outcome",
    "Resources",
    "Task",
    "fleet_folder",
    "list_recordings",
    "make_tasks",
    "run_tasks",
]
