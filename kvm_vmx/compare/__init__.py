# SPDX-License-Identifier: GPL-2.0-only
"""The port beside a kernel tree: statement by statement, every difference explained."""
