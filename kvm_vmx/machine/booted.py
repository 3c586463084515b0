# SPDX-License-Identifier: GPL-2.0-only
"""A machine for the time of a command: what goes wrong in it is one line that names the cure."""

import contextlib
from collections.abc import Iterator
from typing import Any

from kvm_vmx.console import Trouble, told
from kvm_vmx.errors import KernelBug, MachineError
from kvm_vmx.machine.machine import Machine


@contextlib.contextmanager
def booted(**config: Any) -> Iterator[Machine]:
    """A Machine for the time of a command; what goes wrong in it becomes Trouble."""
    try:
        with Machine(**config) as machine:
            yield machine
    except (KernelBug, MachineError, OSError, ValueError) as error:
        raise Trouble(told(error)) from error
    except MemoryError as error:
        raise Trouble("not enough memory for this machine: give fewer --cpus") from error
