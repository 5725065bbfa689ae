# SPDX-License-Identifier: Apache-2.0
"""Build the ROS-free part for `pip install .`; the version stands in package.xml alone."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import setup

setup(version=ElementTree.parse(Path(__file__).with_name("package.xml")).findtext("version"))
