# SPDX-License-Identifier: Apache-2.0
"""Formats of sequences, one module each."""
