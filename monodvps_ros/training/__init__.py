# SPDX-License-Identifier: Apache-2.0
"""Training: from recordings, with or without labels, to a weights file."""
