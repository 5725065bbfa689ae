# SPDX-License-Identifier: Apache-2.0
"""Programs that `ros2 run` and launch files start, one module each."""
