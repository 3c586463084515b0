# SPDX-License-Identifier: GPL-2.0-only
"""What goes wrong with a machine itself, and what the kernel in it refuses."""

import os


class MachineError(RuntimeError):
    """The machine is not in the state that this needs; the text says what to do."""


class KernelBug(MachineError):
    """The L1 kernel hit a BUG: its log is in the text, and the machine can only be closed."""


def kernel_error(ret: int, what: str, log: list[str]) -> OSError:
    """The exception for a negative errno of the kernel, with its last words."""
    text = f"{what}: {os.strerror(-ret)}"
    if log:
        text += f" (kernel: {log[-1]})"
    return OSError(-ret, text)
