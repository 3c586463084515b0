# SPDX-License-Identifier: GPL-2.0-only
"""One L1 processor of a machine: its instructions, and the place where the port runs."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kvm_vmx.errors import Unique
from kvm_vmx.machine.hold import Bound, Hold

if TYPE_CHECKING:
    from kvm_vmx.machine.machine import Machine

# What another thread may do to a CPU that is running: watch it, and raise events.
WATCHING = {"counters", "signal_sint"}
EVENTS = {"pending_interrupt", "pending_nmi"}


class Cpu(Unique, Bound):
    """One L1 processor: its instructions, and `with` to run the port's functions on it.

    An instruction has the CPU to itself, and so has the setting of a register: MachineError
    where another thread is using it.
    """

    def __init__(self, machine: "Machine", index: int) -> None:
        self.machine, self.index = machine, index
        self._processor = machine._processor(index)

    def _what(self) -> str:
        return f"Cpu {self.index}"

    def _state(self) -> str:
        offline = "" if self.machine.is_online(self.index) else "offline, "
        return offline + self._processor.mode

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        self.machine.check_open()
        found = getattr(self._processor, name)
        if not callable(found) or name in WATCHING:
            return found

        @functools.wraps(found)
        def held(*args: Any, **kwargs: Any) -> Any:
            return self._alone(found, *args, **kwargs)

        return held

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("machine", "index", "_processor"):
            object.__setattr__(self, name, value)
            return
        self.machine.check_open()
        if name in EVENTS:
            setattr(self._processor, name, value)
        else:
            self._alone(setattr, self._processor, name, value)

    def _alone(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a function while the CPU is this thread's."""
        with self.machine._gate.use(), Hold(self.machine._kernel, self.index):
            return function(*args, **kwargs)

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *dir(self._processor)})
