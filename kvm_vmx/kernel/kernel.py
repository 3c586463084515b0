# SPDX-License-Identifier: GPL-2.0-only
"""The machine with the kernel's own KVM in it: what Machine is for the port."""

import ctypes
import errno
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from kvm_vmx.conditions import Finding
from kvm_vmx.errors import KernelBug, MachineError, Unique
from kvm_vmx.kernel.build import build
from kvm_vmx.kernel.face import Face, told
from kvm_vmx.kernel.functions import KernelFunctions
from kvm_vmx.kernel.guest import KernelVm, failed
from kvm_vmx.kernel.image import PATIENCE, Alone, Image, but
from kvm_vmx.machine import detection, failures
from kvm_vmx.machine.kernel import TIMER_VECTOR
from kvm_vmx.machine.lints import Lint
from kvm_vmx.machine.options import L1, HyperV
from kvm_vmx.machine.partition import Partition, PhysicalMemory
from kvm_vmx.trap import engine as trap
from kvm_vmx.words import unknown

if TYPE_CHECKING:
    from kvm_vmx.machine.processor import Processor

# struct kernel_param: its name, its module, its operations; those of numbers are the stand-ins'.
PARAM, PARAM_OPS = "__param_", 16
NUMBERS = ("param_ops_bool", "param_ops_int", "param_ops_uint", "param_ops_bint")
# A word has a bit a CPU.
MOST_CPUS = 64
MEMORY_BASE, MEMORY_PER_CPU = 256 << 20, 64 << 10

# What Machine() has and an image takes, too.
OPTIONS = frozenset((
    "profile", "possible_cpus", "memory", "msrs", "cpuid", "maxphyaddr", "enforce_cpuid",
    "cache_policy", "seed", "strict", "lints", "faults", "patience", "no_assist_page", "fail",
    "unfinished"))


def is_image(path: Path) -> bool:
    """Is it what build() has made, and no tree?"""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


class KernelModule(Unique):
    """kvm.ko and kvm-intel.ko, loaded."""

    def __init__(self, kernel: "Kernel") -> None:
        self.kernel = kernel
        self.vms: list[KernelVm] = []
        self._asked: bool | None = None
        self.why_not_evmcs: tuple[Finding, ...] = ()

    def _loaded(self, asked: bool | None) -> None:
        """The init function has run; asked is what its parameter was, None where it has none."""
        self._asked = asked
        if not self.enable_evmcs:
            self.why_not_evmcs = self.kernel._why_not(asked)

    def _what(self) -> str:
        return "Module kvm_intel"

    def _state(self) -> str:
        self.kernel.check_open()
        return told(self) if self.kernel.module is self else "unloaded"

    @property
    def port(self) -> KernelFunctions:
        """The functions of kvm and kvm_intel by their names."""
        self.check_loaded()
        return KernelFunctions(self.kernel, self)

    @property
    def parameters(self) -> dict[str, int]:
        """The parameters of both modules that are numbers, as sysfs would show them now."""
        self.check_loaded()
        return {name: self.kernel._parameter(name) for name in self.kernel._parameter_names()}

    @property
    def machine(self) -> "Kernel":
        """The kernel, as the views of a vCPU call it."""
        return self.kernel

    def check_loaded(self) -> None:
        """MachineError after rmmod(), or after the kernel was closed."""
        self.kernel.image.check_open()
        if self.kernel.module is not self:
            raise MachineError("kvm_intel is unloaded: insmod() it again")

    def parameter(self, name: str) -> int:
        """A parameter, as sysfs would show it now; KeyError for a name that is none."""
        self.check_loaded()
        return self.kernel._parameter(name)

    @property
    def enable_evmcs(self) -> bool:
        """Whether the static key is on: the VMCSs are enlightened."""
        self.check_loaded()
        key = next((name for name in ("enable_evmcs", "__kvm_is_using_evmcs")
                    if name in self.kernel.image.elf.symbols), None)
        return key is not None and self.kernel.image.word(key) & 0xFFFFFFFF > 0

    def create_vm(self, code: bytes = b"", memory: int = 2 << 20) -> KernelVm:
        """A VM of so many bytes of memory, with code at 0x1000; ValueError where it does not fit,
        OSError with the kernel's errno."""
        self.check_loaded()
        vm = KernelVm(self, code, memory)
        self.vms.append(vm)
        return vm

    def rmmod(self) -> None:
        """Destroy the VMs that are left and unload: the module's exit function."""
        self.check_loaded()
        with self.kernel._alone():
            for vm in list(self.vms):
                vm._end()
            self.kernel.image.close_rest()
            self.kernel.image.call("standin_rmmod")


class Kernel(Face):
    """A tree's own KVM as L1 on the emulated Hyper-V: image is what kvm_vmx.kernel.build.build()
    made of the tree. One per process at a time; it may stand beside a Machine.

    cpus online CPUs of possible_cpus; profile, cpuid, msrs, maxphyaddr, enforce_cpuid,
    cache_policy, seed, strict, lints, no_assist_page, fail, unfinished and memory are as for
    Machine. Privileged instructions of KVM's text trap, or go through the kernel's table of
    paravirtual operations. A kernel that dies raises KernelBug in one line, with the function in
    which it did; it can only be closed or restarted then, or crash. So does one that goes on for
    patience seconds of processor time without a VM exit; 0 waits.
    """

    def __init__(self, image: str | os.PathLike[str], cpus: int = 1, *,
                 profile: str | os.PathLike[str] = "kvm-6.12", possible_cpus: int | None = None,
                 memory: int | None = None, msrs: Mapping[int, int] | None = None,
                 cpuid: Any = None, maxphyaddr: int | None = None,
                 enforce_cpuid: bool | None = None, cache_policy: str = "always", seed: int = 0,
                 strict: bool = False, lints: bool = False, faults: Iterable[str] = (),
                 patience: float = PATIENCE, no_assist_page: Iterable[int] = (),
                 fail: Mapping[str, int] | None = None, unfinished: bool = False) -> None:
        if (before := vars(self).get("image")) is not None and before.is_open:
            # what it has would be lost, and it could not be closed any more
            raise MachineError("this Machine is open: close() it first, or boot another one then")
        # what it is to be is looked at as any Machine's
        HyperV(seed=seed)
        l1 = L1(possible_cpus=possible_cpus, memory=memory,
                no_assist_page=no_assist_page, fail=fail).checked(cpus)
        assert l1.possible_cpus is not None
        possible, memory = l1.possible_cpus, l1.memory
        if possible > MOST_CPUS:
            raise ValueError(f"{cpus} CPUs of {possible}: give numbers from 1 to {MOST_CPUS}")
        self.possible_cpus, self._watched = possible, lints or strict
        self._module: KernelModule | None = None
        self.memory = PhysicalMemory(memory or MEMORY_BASE + possible * MEMORY_PER_CPU)
        self.partition = Partition(
            self.memory, possible, profile=profile, cache_policy=cache_policy, seed=seed,
            strict=strict, cpuid=cpuid, msrs=msrs, maxphyaddr=maxphyaddr,
            enforce_cpuid=enforce_cpuid, lints=lints, insn="call", tick=TIMER_VECTOR,
            faults=faults, unfinished=unfinished)
        self._trapped = trap.counts(possible)
        self._binding = threading.local()
        self._file, self._patience = Path(image), patience
        self._without = list(l1.no_assist_page)
        self._boot(cpus, l1.fail)

    def _boot(self, cpus: int, fail: Mapping[str, int] | None = None) -> None:
        self.image = Image(self.partition, self._file)
        self.image.patience = self._patience
        self.image.boot(cpus, self._without, fail)
        self.memory.hand_out_by(self.image)

    def __enter__(self) -> "Kernel":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "image"):
            self.close()

    def close(self) -> None:
        """Unload what is loaded, where the kernel lives, and give everything back. Closing twice
        is no error, nor in a child of fork(), where it does nothing."""
        if self.image.is_open:
            with self._alone():
                self._close()

    def _close(self) -> None:
        try:
            if self.module is not None and self.image.died is None:
                self.module.rmmod()
        finally:
            self._module = None
            self.memory.hand_out_by(None)
            self.image.unload()

    def _alone(self) -> Alone:
        """`with` it no other thread is in the kernel; MachineError where one is."""
        return Alone(self.image)

    def assist_page_gpa(self, cpu: int) -> int | None:
        """Where a CPU's VP assist page is, or None."""
        pages = self.image.word("hv_vp_assist_page")
        page = 0 if not pages else self.memory.read_u64(pages - self.image.memory + 8 * cpu)
        return page - self.image.memory if page else None

    def assist_page(self, cpu: int) -> bytes | None:
        """The 56 bytes in use of it, or None where there is none."""
        gpa = self.assist_page_gpa(cpu)
        return None if gpa is None else self.memory.read(gpa, 56)

    @classmethod
    def of_tree(cls, tree: str | os.PathLike[str], cpus: int = 2, **options: Any) -> "Kernel":
        """The kernel of a tree, or of an image, booted: what Machine(kernel=) is. ValueError for
        an option that only the port has, BuildError where the tree cannot be built."""
        if others := sorted(set(options) - OPTIONS):
            raise ValueError(f"a kernel's own KVM has no option {others[0]!r}: "
                             f"give {', '.join(sorted(OPTIONS))}")
        named = Path(tree)
        image = named if is_image(named) else build(str(tree))
        return cls(image, cpus, **options)

    def processor(self, cpu: int) -> "Processor":
        """A CPU as hardware."""
        return self.partition.processor(cpu)

    def insmod(self, enlightened_vmcs: bool = True, **params: int) -> KernelModule:
        """Load kvm-intel: text and data as linked, parameters, then its init function; OSError with
        its errno. ValueError for a parameter that the module has not."""
        self.image.check()
        if self.module is not None:
            raise MachineError("kvm_intel is loaded: rmmod() it first")
        with self._alone():
            return self._load(enlightened_vmcs, params)

    def _load(self, enlightened_vmcs: bool, params: dict[str, int]) -> KernelModule:
        self.image.reload_module()
        if enlightened_vmcs or self._has_parameter("enlightened_vmcs"):
            # a kernel from before has nothing to switch off
            params["enlightened_vmcs"] = enlightened_vmcs
        for name, value in params.items():
            if PARAM + name not in self.image.elf.symbols:
                raise self._no_parameter(name)
            if not isinstance(value, int) or not -1 << 31 <= int(value) < 1 << 31:
                raise ValueError(f"parameter {name}={value!r}: give a bool or a number of 32 bits")
            self._set_parameter(name, int(value))
        module = self._module = KernelModule(self)
        ret = self.image.call("standin_insmod")
        if ret:
            raise failed(ret, "insmod", self)
        module._loaded(bool(enlightened_vmcs) if "enlightened_vmcs" in params else None)
        return module

    @property
    def module(self) -> KernelModule | None:
        """What is loaded, as the image says: no exception comes between that and its knowing."""
        loaded = self.image.is_open and self.image.word("standin_loaded")
        return self._module if loaded else None

    def _why_not(self, asked: bool | None) -> tuple[Finding, ...]:
        """The conditions for enlightened VMCSs that do not hold, in v4.19's order."""
        asks = SimpleNamespace(online=self.is_online, assist_page=self.assist_page)
        seen: Any = SimpleNamespace(_partition=self.partition, _kernel=asks,
                                    possible_cpus=self.possible_cpus)
        return detection.why_not(seen, asked)

    def _parameter_names(self) -> list[str]:
        """The parameters of both modules that are numbers."""
        symbols = self.image.elf.symbols
        numbers = {symbols[name] for name in NUMBERS if name in symbols}
        return [name.removeprefix(PARAM) for name, at in sorted(symbols.items())
                if name.startswith(PARAM) and not name.startswith(PARAM + "str_")
                and ctypes.c_uint64.from_address(at + PARAM_OPS).value in numbers]

    def _no_parameter(self, name: str) -> ValueError:
        known = self._parameter_names()
        return ValueError(unknown("parameter", name, known, f"there are {len(known)}, which "
                                  "`parameters` of the loaded module has"))

    def _set_parameter(self, name: str, value: int) -> None:
        told, text = name.encode() + b"\0", str(value).encode() + b"\0"
        if self._call_with("standin_set_param", told, text) < 0:
            raise self._no_parameter(name)

    def _has_parameter(self, name: str) -> bool:
        return self._call_with("standin_get_param", name.encode() + b"\0") >= 0

    def _parameter(self, name: str) -> int:
        value = self._call_with("standin_get_param", name.encode() + b"\0")
        if value == -errno.ENOENT:
            raise KeyError(f"no parameter {name!r} of kvm-intel")
        return value

    def _call_with(self, function: str, *texts: bytes) -> int:
        kept = [ctypes.create_string_buffer(text) for text in texts]
        return self.image.call(function, *map(ctypes.addressof, kept))

    def online(self, cpu: int) -> None:
        """Bring a CPU online; OSError with the kernel's errno."""
        self._hotplug(cpu, "standin_cpu_up", "online")

    def offline(self, cpu: int) -> None:
        """Take a CPU offline; OSError with the kernel's errno."""
        self._hotplug(cpu, "standin_cpu_down", "offline")

    def _hotplug(self, cpu: int, function: str, what: str) -> None:
        cpu = self._numbered(cpu)
        ret = self.image.call(function, cpu, cpu=but(cpu))
        if ret:
            raise failed(ret, f"CPU {cpu} {what}", self)

    def reboot(self, cpus: int | None = None) -> list[str]:
        """Restart L1 on the same Hyper-V: the kernel tells KVM by its own reboot notifiers, the
        partition is reset, and the image boots anew with so many CPUs online (as many as now by
        default). What stays, and what is returned, is as Machine.reboot() has it. A kernel that
        has died is cut off."""
        def end() -> None:
            if not self.oopsed:
                self.image.call("standin_restart")
            self.partition.reset()
        return self._next(cpus, end)

    def kexec(self, cpus: int | None = None, *, crash: bool = False) -> list[str]:
        """Start the image anew from this kernel, which nothing resets: it finds each processor as
        KVM's reboot notifiers and Hyper-V's shutdown leave it. crash is kdump's way: nobody is
        asked, each CPU runs KVM's hook for a crash; the only one for a kernel that has died."""
        def end() -> None:
            if crash:
                self.image.revive()
            self.image.call("standin_crash" if crash else "standin_kexec")
        return self._next(cpus, end)

    def _next(self, cpus: int | None, end: Callable[[], None]) -> list[str]:
        """End this kernel and boot another; the old one's log."""
        self.check_open()
        online = self.cpus if cpus is None else cpus
        if not isinstance(online, int) or not 1 <= online <= self.possible_cpus:
            raise ValueError(f"{cpus} CPUs: give a number from 1 to {self.possible_cpus}")
        with self._alone():
            try:
                end()
                log, self._module = self.dmesg, None
                self.image.unload()
                self._boot(online)
            except KernelBug:
                raise
            except BaseException:
                # one that has ended does nothing more, and the next has not all that it needs
                self.image.unload()
                raise
        return log

    def suspend(self) -> None:
        """Suspend L1 to memory and wake it up: all CPUs but the first go offline, KVM's syscore
        operations are called, the processors lose their state, memory stays, and all that comes
        back. OSError with the errno of a CPU that did not."""
        with self._alone():
            ret, what = self.image.suspend()
            if ret:
                raise failed(ret, what, self)

    def fail(self, point: str, nth: int = 1) -> None:
        """Let the nth step of a kind fail from now on, as Machine.fail() has it: page, kmalloc,
        vmalloc, hypercall, msr, and msr:NAME or msr:NUMBER; 0 takes it back."""
        self.image.fail(point, nth)

    def perf_guest_events(self, host: int, guest: int) -> None:
        """Let perf count in L1 what PERF_GLOBAL_CTRL=host does and in guests what guest does;
        KVM switches the MSR where they differ. (0, 0) ends it."""
        self.image.call("standin_perf_events", host, guest)

    @property
    def dmesg(self) -> list[str]:
        """The kernel log."""
        self.check_open()
        return self.image.log()

    @property
    def warnings(self) -> int:
        """How many WARNINGs the kernel has printed."""
        return self.image.word("standin_warnings")

    @property
    def oopsed(self) -> bool:
        """Whether the kernel has died: it can only be closed."""
        self.image.check_owner()
        return self.image.died is not None

    @property
    def allocations(self) -> dict[str, int]:
        """Pages and heap objects that the kernel holds."""
        return {"pages": self.image.word("standin_pages"),
                "objects": self.image.word("standin_objects")}

    @property
    def lints(self) -> list[Lint]:
        """What L0 noticed and let pass, and why enlightened VMCSs that were asked for are not
        used."""
        found = self.partition.lints() + failures.lints(self.image)
        module: Any = self.module
        return found + detection.lints(module) if self._watched else found
