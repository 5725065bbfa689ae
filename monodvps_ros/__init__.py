# SPDX-License-Identifier: Apache-2.0
"""One camera in; metric depth, persistent panoptic ids and a labelled point cloud out, live in ROS 2.

The path is extended because ``colcon build`` installs the generated message module ``monodvps_ros.msg``
beside this package, and with ``--symlink-install`` the two may lie in different folders.
"""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
