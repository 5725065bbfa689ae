# SPDX-License-Identifier: Apache-2.0
"""Messages and topics: what comes in from a camera, what is published of it."""
