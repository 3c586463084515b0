# SPDX-License-Identifier: GPL-2.0-only
"""The checks of L0 as data, by this name."""

from kvm_vmx.machine.partition import (
    checks as checks,
    control_bits as control_bits,
    instruction_checks as instruction_checks,
)
