# SPDX-License-Identifier: GPL-2.0-only
"""Guest-physical memory, by this name."""

from kvm_vmx.machine.partition import (
    PhysicalMemory as PhysicalMemory,
)
