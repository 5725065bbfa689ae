# SPDX-License-Identifier: Apache-2.0
"""The demo: a recording or a synthetic drive through the node over real DDS, to pictures and a report."""
