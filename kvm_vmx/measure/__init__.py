# SPDX-License-Identifier: GPL-2.0-only
"""What a VMCS access, a static key and a clean bit cost: structure, counts, time, a model."""
