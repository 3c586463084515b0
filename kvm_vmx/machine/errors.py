# SPDX-License-Identifier: GPL-2.0-only
"""What goes wrong with a machine itself, whatever the kernel in it says."""


class MachineError(RuntimeError):
    """The machine is not in the state that this needs; the text says what to do."""


class KernelBug(MachineError):
    """The L1 kernel hit a BUG: its log is in the text, and the machine can only be closed."""
