# SPDX-License-Identifier: GPL-2.0-only
"""Lessons: seeded experiments on the port and the emulated Hyper-V, and what they show."""

import importlib
from types import ModuleType

# In the order of the course.
NAMES = ("levels", "vmcs", "exit", "bitmap", "detect", "key", "assist", "table", "clean", "stale",
         "cost", "reload", "hotplug", "history", "bug")
# Those that take a student's function.
WRITTEN = ("levels", "vmcs", "exit", "bitmap", "table", "clean", "cost", "history")


def load(name: str) -> ModuleType:
    """The module of one lesson."""
    return importlib.import_module(f"{__name__}.{name}")
