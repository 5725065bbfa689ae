# SPDX-License-Identifier: Apache-2.0
"""Tools for maintainers: parameter files and reference pages, written from the settings."""
