# SPDX-License-Identifier: Apache-2.0
"""The package as ROS 2 nodes: the only part that imports rclpy."""
