# SPDX-License-Identifier: GPL-2.0-only
"""What goes wrong with a machine itself, and what the kernel in it refuses."""

import os


class MachineError(RuntimeError):
    """The machine is not in the state that this needs; the text says what to do."""


class KernelBug(MachineError):
    """The L1 kernel hit a BUG: its log is in the text, and the machine can only be closed."""


class Unique:
    """What stands for something of the kernel's: there is one of it, which no copy can share."""

    def __reduce_ex__(self, _):
        raise TypeError(f"a {type(self).__name__} is neither copied nor pickled: use this one, "
                        "or boot another Machine in another process")


def kernel_error(ret: int, what: str, kernel) -> OSError:
    """The exception for a negative errno of the kernel, with its last words in that call."""
    text = f"{what}: {os.strerror(-ret)}"
    if said := kernel.last_words():
        text += f" (kernel: {said[-1]})"
    return OSError(-ret, text)
