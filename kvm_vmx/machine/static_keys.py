# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own test module for static keys, loaded into a machine beside kvm-intel or alone."""

from typing import Any

from kvm_vmx.errors import Unique
from kvm_vmx.l1.linux import test_static_keys
from kvm_vmx.machine.kernel import MachineError
from kvm_vmx.machine.machine import Machine
from kvm_vmx.machine.port_functions import PortFunctions
from kvm_vmx.machine.sites import name_of


class StaticKeys(Unique):
    """test_static_keys, loaded: true_key starts on, false_key off; each has a likely site (in
    true_key_true and false_key_true) and an unlikely one (true_key_false, false_key_false).

    port has its functions by name. OSError with the kernel's errno where it is loaded already.
    """

    def __init__(self, machine: Machine) -> None:
        machine.check_open()
        self.machine = machine
        # each call may rewrite text
        self.port = PortFunctions(
            machine, test_static_keys, machine._gate.change, self._check_loaded)
        with machine._gate.change():
            ret = machine._kernel.load(test_static_keys, {}, self, machine._some_cpu())
        if ret:
            raise OSError(-ret, "insmod test_static_keys failed: rmmod() it first")

    def __enter__(self) -> "StaticKeys":
        return self

    def __exit__(self, *_: object) -> None:
        if self.machine._kernel.booted and self in self.machine._kernel.modules:
            self.rmmod()

    def _state(self) -> str:
        self._check_loaded()
        return "loaded"

    def sites(self) -> dict[str, dict[str, Any]]:
        """{function: its site}, as Machine.keys() describes those of kvm-intel."""
        self._check_loaded()
        path = test_static_keys.__file__
        return {
            name_of(path, site["address"]): dict(
                site, key=name_of(path, site["key"]),
                state="jmp" if site["bytes"][0] == 0xE9 else "nop")
            for site in self.machine._kernel.sites() if site["module"] == "test_static_keys"}

    def rmmod(self) -> None:
        """Unload; the next load finds the keys as they start."""
        with self.machine._gate.change():
            self._check_loaded()
            self.machine._kernel.unload(test_static_keys, self, self.machine._some_cpu())

    def _check_loaded(self) -> None:
        self.machine.check_open()
        if self not in self.machine._kernel.modules:
            raise MachineError("test_static_keys is unloaded: load it again")
