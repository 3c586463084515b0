# SPDX-License-Identifier: GPL-2.0-only
"""The machine: an L1 kernel booted on the emulated Hyper-V, and what runs in it."""

import contextlib
import importlib
import inspect
import os
import threading
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, Unpack

from kvm_vmx import building
from kvm_vmx.building import CONFIGS
from kvm_vmx.errors import Unique, counted, kernel_error
from kvm_vmx.machine import detection, failures
from kvm_vmx.machine.cpu import Cpu
from kvm_vmx.machine.gate import Gate
from kvm_vmx.machine.kernel import TIMER_VECTOR, Kernel, MachineError, bound_cpu
from kvm_vmx.machine.lints import Lint
from kvm_vmx.machine.module import Module
from kvm_vmx.machine.options import (
    L1, HyperV, Options, check_names, flat, members, of_group)
from kvm_vmx.machine.partition import Partition, PhysicalMemory
from kvm_vmx.machine.pictures import Pictured, Sheet, Table, pairs
from kvm_vmx.machine.sites import Site, name_of
from kvm_vmx.machine.traced import Trace
from kvm_vmx.trap import engine as trap
from kvm_vmx.words import meant, unknown

if TYPE_CHECKING:
    from kvm_vmx.l0.profile import Profile
    from kvm_vmx.machine.processor import Processor

MOST_SHOWN = 8          # rows of a kind in a notebook
# What others call a processor of L1.
PROCESSOR = ("processor", "processors", "vp", "vps", "vcpu", "vcpus", "core", "cores")

MEMORY_BASE, MEMORY_PER_CPU = 256 << 20, 64 << 10


def no_name(machine: Any, name: str) -> AttributeError:
    """The exception for a name that a machine has not, with the one that was meant."""
    if name[:1] == "_":
        return AttributeError(f"no {name}", name=name, obj=None)
    said = ("m.cpu(n) is processor n" if name in PROCESSOR else
            meant(name, (known for known in dir(machine) if known[0] != "_")) or "see dir()")
    # without the object: else Python guesses, and names what is private
    return AttributeError(f"a Machine has no {name!r}: {said}", name=name, obj=None)


class Machine(Pictured, Unique):
    """An L1 kernel booted on the emulated Hyper-V; one per process, since a kernel's text and
    its per-CPU state are the process's own. A child of fork() has none: there each use raises
    MachineError, but closing it, which does nothing.

    It boots with cpus CPUs, 1 to 4096. hypervisor says what Hyper-V is underneath and how closely
    it looks, l1 what the kernel finds when it boots: HyperV and L1 have each option. An option may
    be named by itself, too, and goes before that of the group: Machine(lints=True) is
    Machine(hypervisor=HyperV(lints=True)). ValueError for bad values, TypeError for a name that no
    option has, MachineError where a machine is already open.

    kernel is a Linux tree (a directory, a tarball, GITDIR@REV), whose own KVM is L1 then, built
    where it is not yet: this gives a kvm_vmx.kernel.kernel.Kernel, with the face of a Machine.
    """

    def __new__(cls, *args: Any, **options: Any) -> Any:
        """A machine of the port, or where kernel is given of a tree's own KVM."""
        if (tree := options.pop("kernel", None)) is None:
            return super().__new__(cls)
        # not imported above: it is made of what is here
        room = importlib.import_module("kvm_vmx.kernel.kernel")
        return room.Kernel.of_tree(tree, *args, **flat(options))

    # Whoever keeps it open: a name, or a traceback that nobody looks at.
    _last: "weakref.ref[Machine] | None" = None

    def __init__(self, cpus: int = 2, *, hypervisor: HyperV | None = None, l1: L1 | None = None,
                 kernel: str | os.PathLike[str] | None = None,
                 **options: Unpack[Options]) -> None:
        if (before := vars(self).get("_kernel")) is not None and before.booted:
            # what it has would be lost, and it could not be closed any more
            raise MachineError("this Machine is open: close() it first, or boot another one then")
        check_names(options)
        below = of_group(HyperV, hypervisor, options)
        above = of_group(L1, l1, options).checked(cpus)
        assert above.possible_cpus is not None
        self.possible_cpus, self._watched = above.possible_cpus, below.lints or below.strict
        self._gate = Gate()
        self._binding = threading.local()
        self.memory = PhysicalMemory(
            above.memory or MEMORY_BASE + self.possible_cpus * MEMORY_PER_CPU)
        self._partition = Partition(
            self.memory, self.possible_cpus, insn=above.insn, tick=TIMER_VECTOR,
            **{name: getattr(below, name) for name in members(HyperV)})
        self._kernel = Kernel(self._partition)
        self._kernel.boot(cpus, above.no_assist_page, above.fail)
        self.memory.hand_out_by(self._kernel)
        Machine._last = weakref.ref(self)

    @staticmethod
    def current() -> "Machine | None":
        """The machine that is open in this process, whoever holds it, or None: a child of fork()
        has none. Machine.current().close() is the way out where a failed cell left one."""
        machine = None if Machine._last is None else Machine._last()
        return machine if machine is not None and machine._kernel.booted else None

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _what(self) -> str:
        profile = os.path.basename(self._partition.profile.name)
        return f"Machine {counted(self.possible_cpus, 'CPU')}, {profile}"

    def _state(self) -> str:
        self._kernel.check_process()
        if not self._kernel.booted:
            return "closed"
        said = [f"{self.cpus} online"] if self.cpus < self.possible_cpus else []
        said.append("kvm_intel loaded" if self.module else "no module")
        return ", ".join(said + ["oopsed"] * self.oopsed)

    def _sheet(self) -> Sheet:
        """Its processors, what L0 has done, what it noticed, and the end of the log."""
        cpus = []
        for n in range(min(self.possible_cpus, MOST_SHOWN)):
            hardware, page = self.cpu(n), self.assist_page_gpa(n)
            active = hardware.active_evmcs
            cpus.append((str(n), "online" if self.is_online(n) else "offline", hardware.mode,
                         "" if page is None else hex(page), "" if active is None else hex(active)))
        more = [("...", "", "", "", "")] * (self.possible_cpus > MOST_SHOWN)
        said = [(lint.name, lint.explain()) for lint in self.lints[-MOST_SHOWN:]]
        return Sheet(f"{self._what()}: {self._state()}", [
            Table("processors of L1", ("CPU", "", "mode", "assist page", "eVMCS"), cpus + more),
            Table("what L0 has done", ("", "", "", ""), pairs(
                {name: count for name, count in self.counters.items() if count}, plain=True)),
            *([Table("what L0 noticed", ("", ""), said)] if said else []),
            Table("the end of L1's log", ("",), [(line,) for line in self.dmesg[-MOST_SHOWN:]]),
        ])

    if not TYPE_CHECKING:
        def __getattr__(self, name: str) -> Any:
            raise no_name(self, name)

    def __del__(self) -> None:
        if getattr(self, "_kernel", None) is not None and self._kernel.booted:
            self.close()

    def close(self) -> None:
        """Unload what is loaded and switch the machine off. Closing twice is no error, nor in a
        child of fork(), where it does nothing; MachineError where another thread is inside."""
        if not self._kernel.booted:
            return
        with self._gate.change():
            try:
                if self.module is not None and not self._kernel.oopsed:
                    self.module.rmmod()
            finally:
                self.memory.hand_out_by(None)
                self._kernel.shutdown()

    def check_open(self) -> None:
        """MachineError after close(), and in a child of fork()."""
        self._kernel.check_open()

    @property
    def module(self) -> Module | None:
        """kvm-intel, where it is loaded."""
        self._kernel.check_process()
        return next((owner for owner in self._kernel.modules if isinstance(owner, Module)), None)

    @property
    def cpus(self) -> int:
        """How many CPUs are online."""
        self.check_open()
        return sum(self._kernel.online(n) for n in range(self.possible_cpus))

    def cpu(self, n: int) -> Cpu:
        """CPU n as hardware, and as the place where `with` lets the port run."""
        self.check_open()
        if not isinstance(n, int) or not 0 <= n < self.possible_cpus:
            raise ValueError(f"no CPU {n}: there are {self.possible_cpus}, from 0")
        return Cpu(self, n)

    def is_online(self, n: int) -> bool:
        """Whether CPU n is online."""
        return self._kernel.online(self.cpu(n).index)

    @property
    def oopsed(self) -> bool:
        """Whether the kernel has hit a BUG: the machine can only be closed."""
        self._kernel.check_process()
        return self._kernel.oopsed

    @property
    def warnings(self) -> int:
        """How many WARNINGs the kernel has printed."""
        self.check_open()
        return self._kernel.warnings()

    def _bound_cpu(self) -> int | None:
        """The CPU of the innermost `with m.cpu(n)` of this thread, or None."""
        return bound_cpu(self._binding)

    @property
    def dmesg(self) -> list[str]:
        """The kernel log."""
        self.check_open()
        return self._kernel.log()

    @property
    def undone(self) -> tuple[str, ...]:
        """What a real host's CPUID offers and L0 does not do, each named with its bit."""
        profile: Profile = self._partition.profile
        return profile.undone

    @property
    def crash(self) -> tuple[int, ...] | None:
        """The five words that L1 has left of its end by Hyper-V's crash MSRs, or None."""
        return self._partition.crash

    @property
    def counters(self) -> dict[str, int]:
        """What L0 has done for all processors together, by name."""
        return self._partition.counters()

    @property
    def traps(self) -> dict[str, int]:
        """How often each instruction has trapped, by name; by call none does."""
        return self._kernel.traps()

    @property
    def by_call(self) -> list[str]:
        """The instructions that do not trap though the others do; [] where all are calls."""
        return trap.calls() if self._kernel.by_trap else []

    @property
    def lints(self) -> list[Lint]:
        """What L0 noticed and let pass, each by its name, with rule, field, CPU and entry; and
        why enlightened VMCSs that were asked for are not used."""
        found = self._partition.lints()
        if not self._watched:
            return found
        return found + failures.lints(self._kernel) + detection.lints(self.module)

    def start_trace(self, size: int = 65536, cpu: int | None = None) -> None:
        """Trace the instructions of L1, the last `size` of each CPU, or of one; it costs time.
        MachineError where another thread is inside: it may be filling the records there are."""
        index = None if cpu is None else self.cpu(cpu).index
        with self._gate.change():
            self._partition.start_trace(int(size) if isinstance(size, int) else size, index)

    def stop_trace(self) -> None:
        """Trace no more; what was traced can still be read. MachineError as of start_trace()."""
        with self._gate.change():
            self._partition.stop_trace()

    @property
    def trace(self) -> "Trace":
        """The instructions traced, on all CPUs in their order, each a TraceRecord with its
        outcome."""
        with self._gate.use():
            return Trace(self._partition.trace)

    @property
    def allocations(self) -> dict[str, int]:
        """Pages and heap objects that the kernel holds."""
        self.check_open()
        return self._kernel.allocations()

    def assist_page(self, cpu: int) -> bytes | None:
        """The 56 bytes in use of a CPU's VP assist page, or None where it has none."""
        index = self.cpu(cpu).index
        with self._gate.use():
            found = self._kernel.assist_page(index)
        return found and found[1]

    def assist_page_gpa(self, cpu: int) -> int | None:
        """Where that page is, or None."""
        index = self.cpu(cpu).index
        with self._gate.use():
            found = self._kernel.assist_page(index)
        return found and found[0]

    def fail(self, point: str, nth: int = 1) -> None:
        """Let the nth step of a kind fail from now on; 0 takes it back.

        page, kmalloc, vmalloc: the allocation finds no memory; mprotect: text cannot be made
        writable; msr: RDMSR or WRMSR raises #GP, and msr:NAME or msr:NUMBER that of one MSR
        alone ("msr:HV_X64_MSR_VP_ASSIST_PAGE", "msr:0x480"); hypercall: Hyper-V answers that it
        has not the means. Where lints are on, each instruction that has failed so is one.
        """
        self.check_open()
        if not isinstance(nth, int) or nth < 0:
            raise ValueError(f"step {nth}: give a number of 1 or more, or 0 to take it back")
        self._kernel.fail(point, nth)

    def preempt(self, nth: int = 1) -> None:
        """Let the thread that runs the kernel lose its CPU before its nth VMWRITE from now, as
        where a time slice ends: its vCPU is put, others run, it is loaded again. 0 takes it
        back."""
        self.check_open()
        self._kernel.preempt(nth)

    @property
    def failures_left(self) -> dict[str, int]:
        """{fail point: steps still to come} of what fail() asked for and has not struck yet."""
        self.check_open()
        return self._kernel.failures_left()

    def perf_guest_events(self, host: int, guest: int) -> None:
        """Let perf count in L1 what PERF_GLOBAL_CTRL=host does and in guests what guest does;
        KVM switches the MSR where they differ. (0, 0) ends it."""
        self.check_open()
        self._kernel.perf_guest_events(host, guest)

    def reboot(self, cpus: int | None = None) -> list[str]:
        """Restart L1 on the same Hyper-V: KVM leaves VMX operation, the partition is reset, and a
        kernel boots with so many CPUs online (as many as now by default). What stays is memory
        as it was, and what L0 keeps: its clock, counters, lints, the words of a crash. Modules,
        VMs, vCPUs and pages of the old kernel are gone. A kernel that has hit a BUG is cut off.
        Returns the log of the kernel that has ended; MachineError where another thread is
        inside."""
        return self._next_kernel(cpus, "restart")

    def kexec(self, cpus: int | None = None, *, crash: bool = False) -> list[str]:
        """Start another kernel from this one, which nothing resets: it finds each processor, its
        synthetic MSRs and memory as hyperv_cleanup() and v4.19's shutdown leave them. crash is
        kdump's way: nobody is asked, each CPU clears the VMCSs that it has loaded and leaves VMX
        operation; the only one for a kernel that has hit a BUG. Otherwise as reboot()."""
        return self._next_kernel(cpus, "crash" if crash else "kexec")

    def suspend(self) -> None:
        """Suspend L1 to memory and wake it up: all CPUs but the first go offline, KVM leaves VMX
        operation, the processors lose their state, memory stays, and all that comes back. OSError
        with the errno of a CPU that did not; MachineError where another thread is inside."""
        self.check_open()
        with self._gate.change():
            ret, what = self._kernel.suspend()
            if ret:
                raise kernel_error(ret, what, self._kernel)

    def _next_kernel(self, cpus: int | None, how: str) -> list[str]:
        """End this kernel and boot another; the old one's log."""
        self.check_open()
        online = self.cpus if cpus is None else cpus
        if not isinstance(online, int) or not 1 <= online <= self.possible_cpus:
            raise ValueError(f"{cpus} CPUs: give a number from 1 to {self.possible_cpus}")
        with self._gate.change():
            return self._kernel.followed_by_another(self, online, how)

    def online(self, cpu: int) -> None:
        """Bring a CPU online; OSError with the kernel's errno."""
        self._hotplug(cpu, self._kernel.cpu_up, "online")

    def offline(self, cpu: int) -> None:
        """Take a CPU offline; OSError with the kernel's errno. A vCPU that runs there comes back
        from run() with INTR and goes on on another."""
        self._hotplug(cpu, self._kernel.cpu_down, "offline")

    def _hotplug(self, cpu: int, change: Callable[[int], int], what: str) -> None:
        index = self.cpu(cpu).index
        with self._gate.use(), self._gate.building:
            ret = change(index)
        if ret:
            raise kernel_error(ret, f"CPU {cpu} {what}", self._kernel)

    def keys(self) -> list[Site]:
        """Every static-branch site of the loaded module: key, function, address, target, bytes
        as they stand, and state: "nop" or "jmp"."""
        self.check_open()
        if self.module is None:
            return []
        path = self.module.path
        return [dict(
            site, key=name_of(path, site["key"]), function=name_of(path, site["address"]),
            state="jmp" if site["bytes"][0] == 0xE9 else "nop")
            for site in self._kernel.sites() if site["module"] == "kvm_intel"]

    def insmod(self, enlightened_vmcs: bool = True, config: str = "hyperv",
               **params: int) -> Module:
        """Load kvm-intel; OSError with the errno of vmx_init() where it fails."""
        self.check_open()
        if config not in CONFIGS:
            raise ValueError(unknown("config", config, CONFIGS))
        if config == "by-trap" and not self._kernel.by_trap:
            raise ValueError("config 'by-trap' has opcodes alone: give Machine(insn=\"trap\")")
        port = self._watched_port(config) or building.port(config)
        known = self._kernel.parameters(port)
        if "enlightened_vmcs" in known:
            params["enlightened_vmcs"] = enlightened_vmcs
        for name, value in params.items():
            if name not in known:
                raise ValueError(unknown("parameter", name, known))
            if not isinstance(value, int) or not -1 << 31 <= value < 1 << 31:
                raise ValueError(f"parameter {name}={value!r}: give a bool or a number of 32 bits")
        module = Module(self, port)
        with self._gate.change():
            if self.module is not None:
                raise MachineError("kvm_intel is already loaded: rmmod() it first")
            ret = self._kernel.load(port, params, module, self._some_cpu())
            if ret and ret == self._kernel.text_error(port):
                raise OSError(-ret, f"insmod kvm_intel: its text cannot be made writable here "
                              f"({os.strerror(-ret)}), as its static keys need: load the build "
                              "that needs no writing, config=\"no-jump-label\"")
            if ret:
                raise kernel_error(ret, "insmod kvm_intel", self._kernel)
            module._loaded(enlightened_vmcs if "enlightened_vmcs" in known else None)
        return module

    def _watched_port(self, config: str) -> ModuleType | None:
        """The build of the port that tells who writes, where somebody wants to know: the others
        have not an instruction for it. None where it is not built."""
        if not self._watched or config != "hyperv":
            return None
        with contextlib.suppress(ValueError):
            return building.port(building.WATCHED)
        return None

    def _some_cpu(self) -> int:
        """The CPU that this thread runs as, or -1: whichever is free."""
        bound = self._bound_cpu()
        return -1 if bound is None else bound

    @staticmethod
    def boot(file: str | os.PathLike[str], append: str = "", **options: Any) -> Any:
        """Run a whole L1 image on L0's own processor, as `kvm-vmx boot` does: how it ended.

        file is a multiboot image, an ELF 64 or a flat file; append its command line. Options:
        memory in bytes (512 MiB), cpus (1 to 16), profile ("bare"), seconds that it may run (60),
        sink, which is called with each byte that it prints, clock ("virtual": time is counted in
        instructions, and every run is the same; "host": it is the host's), and devices, whose
        read(offset, size) answers and whose write(offset, size, value) takes what L1, or L2 where
        L1 lets it, does at ports {number: device} or in mmio {(address, bytes): device}. The end
        has value, what the image wrote to its exit port or None, why, and the instructions
        of L1 and L2. ValueError for a file that is no image. No Machine need be open.
        """
        # not imported above: it is made of what is here
        return importlib.import_module("kvm_vmx.boot.loader").run_file(file, append, **options)

    def _processor(self, n: int) -> "Processor":
        """L0's side of CPU n."""
        return self._partition.processor(n)


# __new__ has no options of its own: what they are is asked of __init__
_own = inspect.signature(Machine.__init__)
Machine.__signature__ = _own.replace(           # type: ignore[attr-defined]
    parameters=list(_own.parameters.values())[1:])
