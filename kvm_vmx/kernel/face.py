# SPDX-License-Identifier: GPL-2.0-only
"""What a machine with a kernel's own KVM shows as every Machine does, and what it has not."""

import abc
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from kvm_vmx.abi.numbers import ExitReason
from kvm_vmx.errors import MachineError, Shown, Unique, counted
from kvm_vmx.kernel import key_sites
from kvm_vmx.kernel.image import Image
from kvm_vmx.machine.cpu import Cpu
from kvm_vmx.machine.fields import fields
from kvm_vmx.machine.kernel import bound_cpu
from kvm_vmx.machine.machine import no_name
from kvm_vmx.machine.partition import Partition
from kvm_vmx.machine.refusal import Refusal
from kvm_vmx.machine.vcpu import _field
from kvm_vmx.trap import engine as trap

if TYPE_CHECKING:
    from kvm_vmx.kernel.guest import KernelVm
    from kvm_vmx.kernel.kernel import KernelModule
    from kvm_vmx.machine.processor import Processor
    from kvm_vmx.machine.trace import TraceRecord

P = ParamSpec("P")
T = TypeVar("T")


class KernelCpu(Cpu):
    """One L1 processor under a kernel's own KVM: its instructions and registers, as any Cpu's."""

    __slots__ = ()

    def _alone(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        self.machine.check_open()
        return function(*args, **kwargs)


class Face(Unique):
    """The part of Machine that is asked of L0 and of the image."""

    possible_cpus: int
    partition: Partition
    image: Image
    _trapped: dict[str, int]
    _binding: threading.local

    def _what(self) -> str:
        return f"Kernel of {counted(self.possible_cpus, 'CPU')}"

    def _state(self) -> str:
        self.check_open()
        if self.oopsed:
            return "oopsed"
        return "kvm_intel loaded" if self.module else "no module"

    @abc.abstractmethod
    def _alone(self) -> AbstractContextManager[None]:
        """With no other thread in the kernel; MachineError where one is."""

    @property
    @abc.abstractmethod
    def module(self) -> "KernelModule | None":
        """What is loaded."""

    @property
    @abc.abstractmethod
    def oopsed(self) -> bool:
        """Whether the kernel has died."""

    if not TYPE_CHECKING:
        def __getattr__(self, name: str) -> Any:
            raise no_name(self, name)

    def check_open(self) -> None:
        """MachineError after close(), and in a child of fork()."""
        self.image.check_open()

    @property
    def cpus(self) -> int:
        """How many CPUs are online."""
        return sum(self.is_online(n) for n in range(self.possible_cpus))

    def is_online(self, n: int) -> bool:
        """Whether CPU n is online."""
        self._numbered(n)
        self.check_open()
        return bool(self.image.word("__cpu_online_mask") >> n & 1)

    def _numbered(self, n: int) -> int:
        if not isinstance(n, int) or not 0 <= int(n) < self.possible_cpus:
            raise ValueError(f"no CPU {n}: there are {self.possible_cpus}, from 0")
        return int(n)

    def _online(self, n: int) -> int:
        """The number of a CPU; MachineError where it is offline."""
        if not self.is_online(n):
            raise MachineError(f"CPU {n} is not online: use one that is, or bring it online")
        return int(n)

    def cpu(self, n: int) -> KernelCpu:
        """CPU n as hardware."""
        self.check_open()
        return KernelCpu(self, self._numbered(n))       # type: ignore[arg-type]

    def _bound_cpu(self) -> int | None:
        """The CPU of the innermost `with m.cpu(n)` of this thread, or None."""
        return bound_cpu(self._binding)

    def _processor(self, n: int) -> "Processor":
        return self.partition.processor(n)

    @property
    def crash(self) -> tuple[int, ...] | None:
        """The five words that L1 has left of its end by Hyper-V's crash MSRs, or None."""
        return self.partition.crash

    @property
    def undone(self) -> tuple[str, ...]:
        """What a real host's CPUID offers and L0 does not do, each named with its bit."""
        return tuple(self.partition.profile.undone)

    @property
    def by_call(self) -> list[str]:
        """The instructions that do not trap though the others do: what the kernel does by its
        table of paravirtual operations."""
        return ["cpuid", "rdmsr", "wrmsr", "mov_to_cr"]

    @property
    def failures_left(self) -> dict[str, int]:
        """{fail point: steps still to come} of what fail() asked for and has not struck yet."""
        return self.image.failures_left()

    @property
    def counters(self) -> dict[str, int]:
        """What L0 has done for all processors together, by name."""
        return self.partition.counters()

    @property
    def traps(self) -> dict[str, int]:
        """How often each instruction has trapped on its CPUs since it was booted, by name."""
        self.image.check_owner()
        return {name: count - self._trapped[name]
                for name, count in trap.counts(self.possible_cpus).items()}

    def start_trace(self, size: int = 65536, cpu: int | None = None) -> None:
        """Trace the instructions of L1, the last `size` of each CPU, or of one. MachineError where
        another thread is inside: it may be filling the records there are."""
        with self._alone():
            self.partition.start_trace(
                int(size) if isinstance(size, int) else size,
                None if cpu is None else self._numbered(cpu))

    def stop_trace(self) -> None:
        """Trace no more; what was traced can still be read. MachineError as of start_trace()."""
        with self._alone():
            self.partition.stop_trace()

    @property
    def trace(self) -> "list[TraceRecord]":
        """The instructions traced, on all CPUs in their order, each with its outcome. MachineError
        as of start_trace()."""
        with self._alone():
            return self.partition.trace

    def keys(self) -> list[dict[str, Any]]:
        """Every static-branch site of the loaded modules, from the kernel's own jump table: key,
        function, address, target, likely, bytes as they stand, and state: "nop" or "jmp"."""
        self.check_open()
        return key_sites.of_image(self.image) if self.module else []

    def preempt(self, nth: int = 1) -> None:
        """Let the task that runs the kernel lose its CPU at its nth VM exit from now, where KVM
        asks whether it should: its vCPU is put, others run, it is loaded again. 0 takes it back.
        A kernel that is not CONFIG_PREEMPT loses it nowhere else."""
        self.check_open()
        if not isinstance(nth, int) or not 0 <= nth < 1 << 31:
            raise ValueError(f"the {nth}th VM exit: give 1 for the next one, or 0 for none")
        self.image.preempt(nth)


class VcpuFace(Unique):
    """The part of a vCPU that L0 knows, and where it runs."""

    vm: "KernelVm"
    _cpu: int
    _vmcs_gpa: int
    _refusal: Refusal | None = None

    @abc.abstractmethod
    def load(self) -> None:
        """Load it on its CPU, so that its VMCS is current there."""

    def _what(self) -> str:
        return f"Vcpu on CPU {self._cpu}"

    def _state(self) -> str:
        return f"VMCS at {self.vmcs_gpa:#x}"

    @property
    def cpu(self) -> int:
        """The CPU it runs on, which may be set to migrate it."""
        return self._cpu

    @cpu.setter
    def cpu(self, n: int) -> None:
        self._cpu = self.vm.kernel._numbered(n)

    @property
    def vmcs_gpa(self) -> int:
        """Where the vCPU's VMCS page is in L1's physical memory."""
        self.vm.check_alive()
        return self._vmcs_gpa

    @property
    def vmcs(self) -> "KernelVmcsView":
        """Its VMCS in either mode."""
        return KernelVmcsView(self)

    def trace_exits(self, on: bool = True, size: int = 65536) -> None:
        """Keep a record of each exit of this vCPU's CPU, the last `size` of them."""
        self.vm.check_alive()
        self.vm.kernel.cpu(self.cpu).log_exits(size if on else 0)

    @property
    def exit_log(self) -> list[tuple[int, int, int]]:
        """(reason, qualification, guest RIP) of each exit recorded but for pages that KVM has yet
        to map."""
        self.vm.check_alive()
        return [record[:3] for record in self.vm.kernel.cpu(self.cpu).exit_log
                if record[0] != ExitReason.EPT_VIOLATION]

    @property
    def why_not(self) -> Refusal | None:
        """The check that refused the last entry of the last run, None where it was not refused;
        what else was refused on its CPU is in cpu(n).why_not."""
        self.vm.check_alive()
        return self._refusal


class KernelVmcsView(Shown, Mapping[str, int]):
    """The VMCS of a vCPU, in either mode: a field's name, or Field, to its value."""

    def __init__(self, vcpu: VcpuFace) -> None:
        self._vcpu = vcpu

    def __getitem__(self, field: str | int) -> int:
        row, vcpu = _field(field), self._vcpu
        kernel = vcpu.vm.kernel
        if vcpu.vm.module.enable_evmcs:
            return int.from_bytes(
                kernel.memory.read(vcpu.vmcs_gpa + row["offset"], row["size"]), "little")
        vcpu.load()
        # a field that this processor has not reads as 0
        return kernel.cpu(vcpu.cpu).vmread(int(row["encoding"], 16)).value or 0

    def __iter__(self) -> Iterator[str]:
        return iter(row["vmcs_field"] for row in fields())

    def __len__(self) -> int:
        return len(fields())

    def _state(self) -> str:
        self._vcpu.vm.check_alive()
        return "enlightened" if self._vcpu.vm.module.enable_evmcs else "plain"


def told(module: Any) -> str:
    """What a module, a VM, a vCPU is and in which state."""
    form = "on" if module.enable_evmcs else "off"
    return f"enlightened VMCS {form}, {counted(len(module.vms), 'VM')}"
