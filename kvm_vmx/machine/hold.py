# SPDX-License-Identifier: GPL-2.0-only
"""A CPU in the hands of one thread, by this name."""

from kvm_vmx.machine.kernel import (
    Bound as Bound,
    Hold as Hold,
)
