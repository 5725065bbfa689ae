# SPDX-License-Identifier: Apache-2.0
"""Parameters and diagnostics: what a node's user sets and is told."""
