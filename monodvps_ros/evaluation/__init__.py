# SPDX-License-Identifier: Apache-2.0
"""Measuring predictions against truth: pairing, scaling, results, report, pictures."""
