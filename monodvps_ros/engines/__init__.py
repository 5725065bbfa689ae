# SPDX-License-Identifier: Apache-2.0
"""What runs the network live: torch, OpenVINO or ONNX Runtime; files, checks and choice."""

from monodvps_ros.engines.graph import thread_count
from monodvps_ros.engines.model import GraphModel, export_graph
from monodvps_ros.engines.selection import load_engine, make_int8, open_graph

__all__ = ["GraphModel", "export_graph", "load_engine", "make_int8", "open_graph", "thread_count"]
