# SPDX-License-Identifier: GPL-2.0-only
"""What the command line says of itself: version, schemas, manual pages, completions, cache."""
