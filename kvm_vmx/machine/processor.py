# SPDX-License-Identifier: GPL-2.0-only
"""One L1 processor as hardware, by this name."""

from kvm_vmx.machine.partition import (
    Processor as Processor,
)
