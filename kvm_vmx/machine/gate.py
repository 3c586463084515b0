# SPDX-License-Identifier: GPL-2.0-only
"""Who is inside a machine, by this name."""

from kvm_vmx.machine.kernel import (
    Building as Building,
    Busy as Busy,
    Changing as Changing,
    Gate as Gate,
    Together as Together,
    Use as Use,
    Using as Using,
    Way as Way,
)
