# SPDX-License-Identifier: GPL-2.0-only
"""The machine: an L1 kernel booted on the emulated Hyper-V, and what runs in it."""

import importlib
import os
import threading
import weakref

from kvm_vmx.machine.cpu import Cpu
from kvm_vmx.machine.errors import kernel_error
from kvm_vmx.machine.gate import Gate
from kvm_vmx.machine.kernel import Kernel, MachineError
from kvm_vmx.machine.lints import Lint
from kvm_vmx.machine.module import Module
from kvm_vmx.machine.partition import MAX_CPUS, Partition, PhysicalMemory
from kvm_vmx.machine.sites import name_of

CONFIGS = {
    "hyperv": "kvm_vmx.l1.vmx",
    "no-hyperv": "kvm_vmx.l1.vmx_no_hyperv",
    "no-jump-label": "kvm_vmx.l1.vmx_no_jump_label",
    "before": "kvm_vmx.l1.vmx_before",
    "by-call": "kvm_vmx.l1.vmx_by_call",
}

MEMORY_BASE, MEMORY_PER_CPU = 256 << 20, 64 << 10

_machine = None
_machine_lock = threading.Lock()


class Machine:
    """An L1 kernel booted on the emulated Hyper-V; one per process, since a kernel's text and
    its per-CPU state are the process's own.

    cpus online CPUs of possible_cpus (the same by default), 1 to 4096; profile is the Hyper-V to
    be ("kvm-6.12", "tlfs-strict", "ice-lake", or a TOML file's name), which msrs {index: value},
    cpuid {leaf: (eax, ebx, ecx, edx)}, maxphyaddr (bits) and enforce_cpuid change; memory is L1's, in bytes; cache_policy is
    how L0 uses clean fields ("always", "never", "random", "random(SEED)", "commit_on_success").
    lints looks, at a cost, for what L1 may not do; strict does too, and stops at the first.
    insn is the form of privileged instructions: "call", or "trap" for the opcodes themselves;
    the environment's KVM_VMX_INSN by default, else "call".
    CPUs in no_assist_page find no memory for their assist page, and fail {point: nth} lets the
    nth step of a kind fail during the boot, as fail() does after it. ValueError for bad values,
    MachineError where a machine is already open.
    """

    def __init__(self, cpus: int = 2, *, profile: str = "kvm-6.12", possible_cpus=None,
                 memory=None, msrs=None, cpuid=None, maxphyaddr: int | None = None,
                 enforce_cpuid: bool | None = None, cache_policy: str = "always", seed: int = 0,
                 strict: bool = False, lints: bool = False, insn: str | None = None,
                 no_assist_page=(), fail=None):
        global _machine
        possible = cpus if possible_cpus is None else possible_cpus
        for number in (cpus, possible):
            if not isinstance(number, int) or not 1 <= number <= MAX_CPUS:
                raise ValueError(f"{number} CPUs: give a number from 1 to {MAX_CPUS}")
        if possible < cpus:
            raise ValueError(f"{cpus} CPUs of {possible} possible ones: raise possible_cpus")
        if memory is not None and (
                not isinstance(memory, int) or memory < 4096 or memory % 4096 or memory > 1 << 40):
            raise ValueError(f"memory of {memory!r} bytes: give a multiple of 4096, at most 1 << 40")
        if not isinstance(seed, int):
            raise ValueError(f"seed {seed!r}: give a number")
        no_assist_page = tuple(no_assist_page)
        for cpu in no_assist_page:
            if not isinstance(cpu, int) or not 0 <= cpu < possible:
                raise ValueError(f"no CPU {cpu} to go without an assist page: "
                                 f"there are {possible}, from 0")
        self.possible_cpus = possible
        self.module = None
        self.gate = Gate()
        self._binding = threading.local()
        with _machine_lock:
            if _machine is not None and _machine() is not None:
                raise MachineError("a Machine is open in this process: close it first, "
                                   "or use another process")
            self.memory = PhysicalMemory(memory or MEMORY_BASE + possible * MEMORY_PER_CPU)
            self._partition = Partition(
                self.memory, possible, profile=profile, cache_policy=cache_policy, seed=seed,
                strict=strict, cpuid=cpuid, msrs=msrs, maxphyaddr=maxphyaddr,
                enforce_cpuid=enforce_cpuid, lints=lints, insn=insn)
            self.kernel = Kernel(self._partition)
            self.kernel.boot(cpus, no_assist_page, fail or {})
            _machine = weakref.ref(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if getattr(self, "kernel", None) is not None and self.kernel.booted:
            self.close()

    def close(self) -> None:
        """Unload what is loaded and switch the machine off. Closing twice is no error;
        MachineError where another thread is inside."""
        global _machine
        if not self.kernel.booted:
            return
        with self.gate.change():
            try:
                if self.module is not None and not self.kernel.oopsed:
                    self.module.rmmod()
            finally:
                self.kernel.shutdown()
                if self.module is not None:
                    self.module.forget()
                with _machine_lock:
                    _machine = None

    def check_open(self) -> None:
        """MachineError after close()."""
        if not self.kernel.booted:
            raise MachineError("the machine is closed: boot another Machine")

    @property
    def cpus(self) -> int:
        """How many CPUs are online."""
        self.check_open()
        return sum(self.kernel.online(n) for n in range(self.possible_cpus))

    def cpu(self, n: int) -> Cpu:
        """CPU n as hardware, and as the place where `with` lets the port run."""
        self.check_open()
        if not isinstance(n, int) or not 0 <= n < self.possible_cpus:
            raise ValueError(f"no CPU {n}: there are {self.possible_cpus}, from 0")
        return Cpu(self, n)

    def bound_cpu(self):
        """The CPU of the innermost `with m.cpu(n)` of this thread, or None."""
        stack = getattr(self._binding, "stack", None)
        return stack[-1] if stack else None

    @property
    def dmesg(self) -> list[str]:
        """The kernel log."""
        self.check_open()
        return self.kernel.log()

    @property
    def counters(self) -> dict[str, int]:
        """What L0 has done for all processors together, by name."""
        return self._partition.counters()

    @property
    def traps(self) -> dict[str, int]:
        """How often each instruction has trapped, by name; by call none does."""
        return self.kernel.traps()

    @property
    def lints(self) -> list[Lint]:
        """What L0 noticed and let pass, each by its name, with rule, field, CPU and entry."""
        return self._partition.lints()

    def start_trace(self, size: int = 65536, cpu: int | None = None) -> None:
        """Trace the instructions of L1, the last `size` of each CPU, or of one; it costs time."""
        self._partition.start_trace(size, None if cpu is None else self.cpu(cpu).index)

    def stop_trace(self) -> None:
        """Trace no more; what was traced can still be read."""
        self._partition.stop_trace()

    @property
    def trace(self) -> list:
        """The instructions traced, on all CPUs in their order, each with its outcome."""
        return self._partition.trace

    @property
    def allocations(self) -> dict[str, int]:
        """Pages and heap objects that the kernel holds."""
        self.check_open()
        return self.kernel.allocations()

    def assist_page(self, cpu: int):
        """The 56 bytes in use of a CPU's VP assist page, or None where it has none."""
        index = self.cpu(cpu).index
        with self.gate.use():
            found = self.kernel.assist_page(index)
        return found and found[1]

    def assist_page_gpa(self, cpu: int):
        """Where that page is, or None."""
        index = self.cpu(cpu).index
        with self.gate.use():
            found = self.kernel.assist_page(index)
        return found and found[0]

    def fail(self, point: str, nth: int = 1) -> None:
        """Let the nth step of a kind fail from now on; 0 takes it back.

        page, kmalloc, vmalloc: the allocation finds no memory; mprotect: text cannot be made
        writable; msr: RDMSR or WRMSR raises #GP; hypercall: Hyper-V answers that it has not the
        means.
        """
        self.check_open()
        if not isinstance(nth, int) or nth < 0:
            raise ValueError(f"step {nth}: give a number of 1 or more, or 0 to take it back")
        self.kernel.fail(point, nth)

    def preempt(self, nth: int = 1) -> None:
        """Let the thread that runs the kernel lose its CPU before its nth VMWRITE from now, as
        where a time slice ends: its vCPU is put, others run, it is loaded again. 0 takes it back."""
        self.check_open()
        self.kernel.preempt(nth)

    @property
    def failures_left(self) -> dict[str, int]:
        """{fail point: steps still to come} of what fail() asked for and has not struck yet."""
        self.check_open()
        return self.kernel.failures_left()

    def perf_guest_events(self, host: int, guest: int) -> None:
        """Let perf count in L1 what PERF_GLOBAL_CTRL=host does and in guests what guest does;
        KVM switches the MSR where they differ. (0, 0) ends it."""
        self.check_open()
        self.kernel.perf_guest_events(host, guest)

    def online(self, cpu: int) -> None:
        """Bring a CPU online; OSError with the kernel's errno."""
        self._hotplug(cpu, self.kernel.cpu_up, "online")

    def offline(self, cpu: int) -> None:
        """Take a CPU offline; OSError with the kernel's errno. A vCPU that runs there comes back
        from run() with INTR and goes on on another."""
        self._hotplug(cpu, self.kernel.cpu_down, "offline")

    def _hotplug(self, cpu, change, what):
        index = self.cpu(cpu).index
        with self.gate.use(), self.gate.building:
            ret = change(index)
        if ret:
            raise kernel_error(ret, f"CPU {cpu} {what}", self.kernel.log())

    def keys(self) -> list[dict]:
        """Every static-branch site of the loaded module: key, function, address, target, bytes
        as they stand, and state: "nop" or "jmp"."""
        self.check_open()
        if self.module is None:
            return []
        path = self.module.path
        return [dict(
            site, key=name_of(path, site["key"]), function=name_of(path, site["address"]),
            state="jmp" if site["bytes"][0] == 0xE9 else "nop")
            for site in self.kernel.sites() if site["module"] == "kvm_intel"]

    def insmod(self, enlightened_vmcs: bool = True, config: str = "hyperv", **params) -> Module:
        """Load kvm-intel; OSError with the errno of vmx_init() where it fails."""
        self.check_open()
        if config not in CONFIGS:
            raise ValueError(f"no config {config!r}: there are {', '.join(CONFIGS)}")
        try:
            port = importlib.import_module(CONFIGS[config])
        except ModuleNotFoundError as error:
            raise ValueError(f"config {config!r} is not built: use 'hyperv'") from error
        known = self.kernel.parameters(port)
        if "enlightened_vmcs" in known:
            params["enlightened_vmcs"] = enlightened_vmcs
        for name, value in params.items():
            if name not in known:
                raise ValueError(f"no parameter {name!r}: there are {', '.join(known)}")
            if not isinstance(value, int) or not -1 << 31 <= value < 1 << 31:
                raise ValueError(f"parameter {name}={value!r}: give a bool or a number of 32 bits")
        with self.gate.change():
            if self.module is not None:
                raise MachineError("kvm_intel is already loaded: rmmod() it first")
            ret = self.kernel.load(port, params, self._some_cpu())
            if ret and ret == self.kernel.text_error(port):
                raise OSError(-ret, f"insmod kvm_intel: its text cannot be made writable here "
                              f"({os.strerror(-ret)}), as its static keys need: load the build "
                              "that needs no writing, config=\"no-jump-label\"")
            if ret:
                raise kernel_error(ret, "insmod kvm_intel", self.kernel.log())
            self.module = Module(self, port)
        return self.module

    def _some_cpu(self):
        """The CPU that this thread runs as, or -1: whichever is free."""
        bound = self.bound_cpu()
        return -1 if bound is None else bound

    def processor(self, n: int):
        """L0's side of CPU n."""
        return self._partition.processor(n)
