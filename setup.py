# SPDX-License-Identifier: Apache-2.0
"""Build the ROS-free part for `pip install .`; the version stands in package.xml alone.

Configurations, launch files and message definitions come along, the last so that recordings with this package's
messages are written without ROS too.
"""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import setup

here = Path(__file__).parent
shared = [path.relative_to(here) for name in ("config", "launch", "msg") for path in sorted((here / name).rglob("*"))]
files = [path for path in shared if (here / path).is_file() and path.suffix != ".pyc"]
setup(
    version=ElementTree.parse(here / "package.xml").findtext("version"),
    data_files=[
        (f"share/monodvps_ros/{folder}", [str(path) for path in files if path.parent == folder])
        for folder in dict.fromkeys(path.parent for path in files)
    ],
)
