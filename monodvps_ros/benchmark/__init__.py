# SPDX-License-Identifier: Apache-2.0
"""Timing of each stage of the per-frame pipeline, beside the usual way to do it."""
