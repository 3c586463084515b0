# SPDX-License-Identifier: GPL-2.0-only
"""Nine lessons: seeded experiments on the port and the emulated Hyper-V, and what they show."""

import importlib

# In the order of the course.
NAMES = ("detect", "key", "assist", "table", "clean", "stale", "reload", "hotplug", "bug")


def load(name: str):
    """The module of one lesson."""
    return importlib.import_module(f"{__name__}.{name}")
