# SPDX-License-Identifier: Apache-2.0
"""The views for RViz and Foxglove, with the topics of a launch. Imports neither launch nor rclpy.

The files that ship hold the names of a node without namespace; a launch writes them with its own.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from monodvps_ros.config.launch_cameras import LaunchCamera, full_name

#: Topics that no namespace concerns.
_GLOBAL = ("/diagnostics", "/tf", "/tf_static")


def rviz_view(template: str, namespace: str, cameras: Sequence[LaunchCamera], parameters: Mapping[str, Any]) -> str:
    """Write the view for RViz: each display of a topic once for each camera.

    Args:
        template: text of ``config/monodvps.rviz``.
        namespace: of the node.
        cameras: of the node.
        parameters: of the parameter file.
    """
    view = yaml.safe_load(template)
    manager = view["Visualization Manager"]
    shown = []
    for camera in cameras:
        for display in manager["Displays"]:
            if "Topic" not in display:
                continue
            own = copy.deepcopy(display)
            own["Name"] = f"{camera.name}: {display['Name']}" if camera.name else display["Name"]
            own["Topic"]["Value"] = _topic(display["Topic"]["Value"], namespace, camera, parameters)
            shown.append(own)
    manager["Displays"] = shown + [display for display in manager["Displays"] if "Topic" not in display]
    return yaml.safe_dump(view, sort_keys=False)


def foxglove_view(template: str, namespace: str, camera: LaunchCamera, parameters: Mapping[str, Any]) -> str:
    """Write the layout for Foxglove, of one camera.

    Args:
        template: text of ``config/monodvps_foxglove.json``.
        namespace: of the node.
        camera: whose topics are shown.
        parameters: of the parameter file.
    """

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {renamed(key): renamed(content) for key, content in value.items()}
        if isinstance(value, list):
            return [renamed(content) for content in value]
        if not isinstance(value, str) or not value.startswith("/") or value in _GLOBAL:
            return value
        topic, dot, path = value.partition(".")  # a path into a message may follow
        return _topic(topic.removeprefix("/"), namespace, camera, parameters) + dot + path

    return json.dumps(renamed(json.loads(template)), indent=2)


def _topic(name: str, namespace: str, camera: LaunchCamera, parameters: Mapping[str, Any]) -> str:
    image, info = camera.input_topics(namespace, parameters)
    return {"image": image, "camera_info": info}.get(name) or full_name(namespace, camera.prefix + name)
