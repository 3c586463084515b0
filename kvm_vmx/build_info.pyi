# SPDX-License-Identifier: GPL-2.0-only
# The types of the module beside it, printed by dev/stubs.py.

compiler: str
cython: str
config: dict[str, int]
