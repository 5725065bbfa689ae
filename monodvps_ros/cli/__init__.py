# SPDX-License-Identifier: Apache-2.0
"""The `monodvps` command: one file a command, imported only when it is called."""
