# SPDX-License-Identifier: Apache-2.0
"""Build the ROS-free part for `pip install .`; the version stands in package.xml alone.

The message definitions come along, so that recordings with this package's messages are written without ROS too.
"""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import setup

here = Path(__file__).parent
setup(
    version=ElementTree.parse(here / "package.xml").findtext("version"),
    data_files=[("share/monodvps_ros/msg", sorted(f"msg/{path.name}" for path in (here / "msg").glob("*.msg")))],
)
