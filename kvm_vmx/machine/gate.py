# SPDX-License-Identifier: GPL-2.0-only
"""Who is inside a machine: many threads that use it, or one that changes it, and nobody waits."""

import contextlib
import threading
from collections.abc import Iterator

from kvm_vmx.machine.kernel import MachineError


class Gate:
    """Loading and unloading and destroying need the machine to themselves: text is not
    executable while it is patched, and what is freed may be in use. A thread that comes at the
    wrong time gets a MachineError, so that none can hang."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._changer: int | None = None
        self._depth = 0
        # building VMs and vCPUs, and hotplug, come one after the other, beside vCPUs that run
        self.building = threading.RLock()

    @contextlib.contextmanager
    def use(self) -> Iterator[None]:
        """For a call that needs everything to stay where it is."""
        me = threading.get_ident()
        with self._lock:
            if self._changer not in (None, me):
                raise MachineError("another thread is changing the machine (loading, unloading, "
                                   "destroying): try again when it is done")
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1

    @contextlib.contextmanager
    def change(self) -> Iterator[None]:
        """For a call that takes something away, or rewrites text; may be nested."""
        me = threading.get_ident()
        with self._lock:
            if self._changer not in (None, me) or self._users:
                raise MachineError("the machine is in use (a vCPU runs, or another thread is "
                                   "inside): wait until that call has returned")
            self._changer = me
            self._depth += 1
        try:
            yield
        finally:
            with self._lock:
                self._depth -= 1
                if not self._depth:
                    self._changer = None


class Busy:
    """A lock of one object that nobody waits for either."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise MachineError(f"{self._what} is in use by another call: wait until it returns")

    def __exit__(self, *_: object) -> None:
        self._lock.release()
