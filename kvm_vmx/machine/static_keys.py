# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own test module for static keys, loaded into a machine beside kvm-intel or alone."""

from typing import Any

from kvm_vmx.l1.linux import test_static_keys
from kvm_vmx.machine.kernel import MachineError
from kvm_vmx.machine.machine import Machine
from kvm_vmx.machine.port import Port
from kvm_vmx.machine.sites import name_of


class StaticKeys:
    """test_static_keys, loaded: true_key starts on, false_key off; each has a likely site (in
    true_key_true and false_key_true) and an unlikely one (true_key_false, false_key_false).

    port has its functions by name. OSError with the kernel's errno where it is loaded already.
    """

    def __init__(self, machine: Machine) -> None:
        machine.check_open()
        self.machine = machine
        # each call may rewrite text
        self.port = Port(machine, test_static_keys, machine.gate.change, self._check_loaded)
        with machine.gate.change():
            ret = machine.kernel.load(test_static_keys, {}, machine._some_cpu())
        if ret:
            raise OSError(-ret, "insmod test_static_keys failed: rmmod() it first")
        self._loaded = True

    def __enter__(self) -> "StaticKeys":
        return self

    def __exit__(self, *_: object) -> None:
        if self._loaded and self.machine.kernel.booted:
            self.rmmod()

    def sites(self) -> dict[str, dict[str, Any]]:
        """{function: its site}, as Machine.keys() describes those of kvm-intel."""
        self._check_loaded()
        path = test_static_keys.__file__
        return {
            name_of(path, site["address"]): dict(
                site, key=name_of(path, site["key"]),
                state="jmp" if site["bytes"][0] == 0xE9 else "nop")
            for site in self.machine.kernel.sites() if site["module"] == "test_static_keys"}

    def rmmod(self) -> None:
        """Unload; the next load finds the keys as they start."""
        with self.machine.gate.change():
            self._check_loaded()
            self.machine.kernel.unload(test_static_keys, self.machine._some_cpu())
            self._loaded = False

    def _check_loaded(self) -> None:
        self.machine.check_open()
        if not self._loaded:
            raise MachineError("test_static_keys is unloaded: load it again")
