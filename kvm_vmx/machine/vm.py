# SPDX-License-Identifier: GPL-2.0-only
"""A virtual machine of KVM's: its memory and its vCPUs."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from kvm_vmx.errors import Shown, Unique, counted, kernel_error
from kvm_vmx.machine import long_mode
from kvm_vmx.machine.gate import Using
from kvm_vmx.machine.kernel import MachineError, VirtualMachine
from kvm_vmx.machine.span import span
from kvm_vmx.machine.vcpu import Vcpu

if TYPE_CHECKING:
    from kvm_vmx.machine.module import Module


class GuestMemory(Shown):
    """The physical memory of an L2 guest: GPA 0 up to size, in bytes."""

    def __init__(self, vm: "Vm", size: int) -> None:
        self._vm, self.size = vm, size

    def _state(self) -> str:
        self._vm.check_alive()
        return f"{self.size:#x} bytes"

    def read(self, gpa: int, length: int) -> bytes:
        """length bytes at gpa; IndexError outside the memory."""
        self._check(gpa, length)
        with self._vm.used() as raw:
            return raw.read(gpa, length)

    def write(self, gpa: int, data: bytes) -> None:
        """Store bytes at gpa; IndexError outside the memory."""
        self._check(gpa, len(data))
        with self._vm.used() as raw:
            raw.write(gpa, data)

    def __getitem__(self, where: slice) -> bytes:
        """memory[gpa:gpa + 8]: the bytes from one address up to another."""
        start, stop = span(where, self.size)
        return self.read(start, stop - start)

    def __setitem__(self, where: slice, data: bytes | bytearray | memoryview) -> None:
        start, _ = span(where, self.size, data)
        self.write(start, bytes(data))

    def _check(self, gpa: int, length: int) -> None:
        if gpa < 0 or length < 0 or gpa + length > self.size:
            raise IndexError(f"{length} bytes at {gpa:#x} are outside the guest's {self.size:#x}")


class Vm(Unique):
    """A virtual machine."""

    def __init__(self, module: "Module", raw: VirtualMachine, size: int) -> None:
        self.module, self._raw = module, raw
        self.memory = GuestMemory(self, size)

    def _what(self) -> str:
        return f"Vm of {self.memory.size:#x} bytes"

    def _state(self) -> str:
        self.module.check_loaded()
        return "destroyed" if self._raw.destroyed else counted(self._raw.nr_vcpus, "vCPU")

    def check_alive(self) -> None:
        """MachineError once the VM, its module or the machine is gone."""
        self.module.check_loaded()
        if self._raw.destroyed:
            raise MachineError("the VM is destroyed: create another")

    def _there(self) -> VirtualMachine:
        self.check_alive()
        return self._raw

    def used(self) -> AbstractContextManager[VirtualMachine]:
        """The struct kvm, there for as long as the `with` lasts."""
        return Using(self.module.machine._gate, self)

    def create_vcpu(self, cpu: int = 0) -> Vcpu:
        """A vCPU that starts at 0x1000 in 64-bit mode, created on and running on a CPU."""
        machine = self.module.machine
        with self.used() as vm, machine._gate.building:
            hardware = machine.cpu(cpu)
            raw, ret = vm.create_vcpu(cpu)
            if raw is None:
                raise kernel_error(ret, "create_vcpu", machine._kernel)
            vcpu = Vcpu(self, raw, cpu)
            ret = (raw.set_cpuid(cpu, long_mode.cpuid_entries(hardware))
                   or raw.set_sregs(cpu, long_mode.sregs(self.memory.size)))
            if ret:
                # As with KVM, what exists of the vCPU goes with its VM.
                raise kernel_error(ret, "create_vcpu", machine._kernel)
            vcpu.regs.update(
                rip=long_mode.START, rsp=long_mode.stack(self.memory.size), rflags=2)
        return vcpu

    def move_page(self, gpa: int, flush: bool = True) -> None:
        """Give the page at gpa another frame of L1's memory, as reclaim would, and flush every
        TLB that may know the old one (kvm_flush_remote_tlbs()). Without flush the guest goes on
        with what its TLB has: the bug to look at. IndexError outside the guest's memory."""
        self.memory._check(gpa, 1)
        machine = self.module.machine
        with self.used() as raw, machine._gate.building:
            ret = raw.move_page(gpa, flush, machine._some_cpu())
        if ret:
            raise kernel_error(ret, "move_page", machine._kernel)

    @property
    def remote_tlb_flushes(self) -> int:
        """How often the TLBs of all its vCPUs were flushed at once."""
        with self.used() as raw:
            return raw.remote_tlb_flushes

    def destroy(self) -> None:
        """Destroy the VM and its vCPUs."""
        with self.module.machine._gate.change():
            self._there().destroy(self.module.machine._some_cpu())
