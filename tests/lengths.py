# SPDX-License-Identifier: GPL-2.0-only
"""How much a plain run does of what a soak does, for what is said before any test has begun."""

# conftest.py sets it, from --soak.
soaks = False


def either(plain, soak):
    """The one of a plain run, or the one of a soak."""
    return soak if soaks else plain
