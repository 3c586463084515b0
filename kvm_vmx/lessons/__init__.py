# SPDX-License-Identifier: GPL-2.0-only
"""Lessons: seeded experiments on the port and the emulated Hyper-V, and what they show."""

import importlib

# In the order of the course.
NAMES = ("levels", "vmcs", "exit", "bitmap", "detect", "key", "assist", "table", "clean", "stale",
         "cost", "reload", "hotplug", "history", "bug")
# Those that take a student's function.
WRITTEN = ("levels", "vmcs", "exit", "bitmap", "table", "clean", "cost", "history")


def load(name: str):
    """The module of one lesson."""
    return importlib.import_module(f"{__name__}.{name}")
