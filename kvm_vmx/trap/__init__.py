# SPDX-License-Identifier: GPL-2.0-only
"""Instructions that trap: signals of opcodes, given to L0."""
