# SPDX-License-Identifier: Apache-2.0
"""The nodes, and how their processes start and stop."""
