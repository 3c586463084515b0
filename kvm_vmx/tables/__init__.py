# SPDX-License-Identifier: GPL-2.0-only
"""The field table and the static-branch sites."""
