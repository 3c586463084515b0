# SPDX-License-Identifier: GPL-2.0-only
"""Whole L1 images: what a file is, the board it finds, and how it runs to its end."""
