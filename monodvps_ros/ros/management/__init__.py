# SPDX-License-Identifier: Apache-2.0
"""Parameters and diagnostics of the nodes."""
