# SPDX-License-Identifier: GPL-2.0-only
"""kvm-intel, loaded into a machine."""

from typing import TYPE_CHECKING, Any

from kvm_vmx.conditions import Finding
from kvm_vmx.errors import Unique, counted, kernel_error
from kvm_vmx.machine import detection, long_mode
from kvm_vmx.machine.kernel import MachineError
from kvm_vmx.machine.port_functions import PortFunctions
from kvm_vmx.machine.vm import Vm

if TYPE_CHECKING:
    from kvm_vmx.machine.machine import Machine


class Module(Unique):
    """kvm-intel, loaded."""

    def __init__(self, machine: "Machine", module: Any) -> None:
        self.machine, self._module = machine, module
        self.path = module.__file__
        self._asked: bool | None = None
        self._why_not: tuple[Finding, ...] = ()

    def _loaded(self, asked: bool | None) -> None:
        """vmx_init() has run; asked is what its parameter was, None where it has none."""
        self._asked = asked
        if not self.machine._kernel.enable_evmcs(self._module):
            self._why_not = detection.why_not(self.machine, asked)

    def _what(self) -> str:
        return "Module kvm_intel"

    def _state(self) -> str:
        self.machine.check_open()
        kernel = self.machine._kernel
        if self not in kernel.modules:
            return "unloaded"
        form = "on" if kernel.enable_evmcs(self._module) else "off"
        return f"enlightened VMCS {form}, {counted(len(kernel.vms), 'VM')}"

    def check_loaded(self) -> None:
        """MachineError after rmmod(), or after the machine was closed."""
        self.machine.check_open()
        if self not in self.machine._kernel.modules:
            raise MachineError("kvm_intel is unloaded: insmod() it again")

    @property
    def parameters(self) -> dict[str, int]:
        """The module's parameters, as sysfs would show them now."""
        self.check_loaded()
        return self.machine._kernel.parameters(self._module)

    @property
    def enable_evmcs(self) -> bool:
        """Whether the static key is on: the VMCSs are enlightened."""
        with self.machine._gate.use():
            self.check_loaded()
            return self.machine._kernel.enable_evmcs(self._module)

    @property
    def why_not_evmcs(self) -> tuple[Finding, ...]:
        """The conditions of vmx_init() that did not hold when it ran, in v4.19's order: the first
        is why the VMCSs are not enlightened, each with its sentence and evidence; () where they
        are."""
        return self._why_not

    @property
    def port(self) -> PortFunctions:
        """The port's functions by their kernel names."""
        self.check_loaded()
        return PortFunctions(self.machine, self._module, self.machine._gate.use, self.check_loaded)

    def create_vm(self, code: bytes = b"", memory: int = 2 << 20) -> Vm:
        """A VM of so many bytes of memory, with code at 0x1000; ValueError where it does not
        fit, OSError with the kernel's errno."""
        self.check_loaded()
        long_mode.check(code, memory)
        gate, kernel = self.machine._gate, self.machine._kernel
        with gate.use(), gate.building:
            self.check_loaded()
            raw, ret = kernel.create_vm(memory, self.machine._some_cpu())
            if raw is None:
                raise kernel_error(ret, "create_vm", kernel)
            try:
                vm = Vm(self, raw, memory)
                long_mode.fill(vm.memory, code, memory)
            except BaseException:
                # nobody knows of it yet
                raw.destroy(self.machine._some_cpu())
                raise
        return vm

    def rmmod(self) -> None:
        """Destroy the VMs that are left and unload: vmx_exit()."""
        self.check_loaded()
        with self.machine._gate.change():
            self.check_loaded()
            kernel, cpu = self.machine._kernel, self.machine._some_cpu()
            kernel.destroy_vms(cpu)
            ret = kernel.unload(self._module, self, cpu)
            if ret:
                raise kernel_error(ret, "rmmod kvm_intel", kernel)
