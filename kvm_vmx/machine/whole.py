# SPDX-License-Identifier: GPL-2.0-only
"""A processor that runs L1's code itself, by this name."""

from kvm_vmx.machine.partition import (
    ENDS as ENDS,
    WholeProcessor as WholeProcessor,
)
