# SPDX-License-Identifier: GPL-2.0-only
"""The machine: an L1 kernel booted on the emulated Hyper-V, and what runs in it."""

import contextlib
import errno
import functools
import importlib
import os
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field

from kvm_vmx.machine import long_mode
from kvm_vmx.machine.fields import fields
from kvm_vmx.machine.gate import Busy, Gate
from kvm_vmx.machine.hold import Hold
from kvm_vmx.machine.kernel import Kernel, KernelBug, MachineError, REGISTERS
from kvm_vmx.machine.lints import Lint
from kvm_vmx.machine.partition import MAX_CPUS, Partition, PhysicalMemory
from kvm_vmx.machine.port import Port
from kvm_vmx.machine.sites import name_of

CONFIGS = {
    "hyperv": "kvm_vmx.l1.vmx",
    "no-hyperv": "kvm_vmx.l1.vmx_no_hyperv",
    "no-jump-label": "kvm_vmx.l1.vmx_no_jump_label",
    "before": "kvm_vmx.l1.vmx_before",
    "by-call": "kvm_vmx.l1.vmx_by_call",
}

# KVM's exit reasons to user space, by number (uapi/linux/kvm.h).
KVM_EXITS = {
    0: "UNKNOWN", 1: "EXCEPTION", 2: "IO", 3: "HYPERCALL", 4: "DEBUG", 5: "HLT", 6: "MMIO",
    7: "IRQ_WINDOW_OPEN", 8: "SHUTDOWN", 9: "FAIL_ENTRY", 10: "INTR", 11: "SET_TPR",
    17: "INTERNAL_ERROR",
}

MEMORY_BASE, MEMORY_PER_CPU = 256 << 20, 64 << 10

_machine = None
_machine_lock = threading.Lock()


def _errno(ret: int, what: str, log: list[str]) -> OSError:
    """The exception for a negative errno of the kernel, with its last words."""
    text = f"{what}: {os.strerror(-ret)}"
    if log:
        text += f" (kernel: {log[-1]})"
    return OSError(-ret, text)


@dataclass(frozen=True)
class ExitSummary:
    """One run of a vCPU: VM exits, why it came back (KVM's exit reason without KVM_EXIT_),
    what KVM says of that, and how often each VM-exit reason came, by number."""

    exits: int
    reason: str
    data: dict = field(default_factory=dict)
    reasons: dict[int, int] = field(default_factory=dict)


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

    def cpu(self, n: int) -> "Cpu":
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
            raise _errno(ret, f"CPU {cpu} {what}", self.kernel.log())

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

    def insmod(self, enlightened_vmcs: bool = True, config: str = "hyperv", **params) -> "Module":
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
                raise _errno(ret, "insmod kvm_intel", self.kernel.log())
            self.module = Module(self, port)
        return self.module

    def _some_cpu(self):
        """The CPU that this thread runs as, or -1: whichever is free."""
        bound = self.bound_cpu()
        return -1 if bound is None else bound

    def processor(self, n: int):
        """L0's side of CPU n."""
        return self._partition.processor(n)


# What another thread may do to a CPU that is running: watch it, and raise events.
WATCHING = {"counters", "signal_sint"}
EVENTS = {"pending_interrupt", "pending_nmi"}


class Cpu:
    """One L1 processor: its instructions, and `with` to run the port's functions on it.

    An instruction has the CPU to itself, and so has the setting of a register: MachineError
    where another thread is using it.
    """

    def __init__(self, machine: Machine, index: int):
        self.machine, self.index = machine, index
        self._processor = machine.processor(index)

    def __enter__(self):
        binding = self.machine._binding
        binding.stack = [*getattr(binding, "stack", ()), self.index]
        return self

    def __exit__(self, *_):
        self.machine._binding.stack.pop()

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        self.machine.check_open()
        found = getattr(self._processor, name)
        if not callable(found) or name in WATCHING:
            return found

        @functools.wraps(found)
        def held(*args, **kwargs):
            return self._alone(found, *args, **kwargs)

        return held

    def __setattr__(self, name, value):
        if name in ("machine", "index", "_processor"):
            object.__setattr__(self, name, value)
            return
        self.machine.check_open()
        if name in EVENTS:
            setattr(self._processor, name, value)
        else:
            self._alone(setattr, self._processor, name, value)

    def _alone(self, function, /, *args, **kwargs):
        """Call a function while the CPU is this thread's."""
        with self.machine.gate.use(), Hold(self.machine.kernel, self.index):
            return function(*args, **kwargs)

    def __dir__(self):
        return sorted({*object.__dir__(self), *dir(self._processor)})


class Module:
    """kvm-intel, loaded."""

    def __init__(self, machine: Machine, module):
        self.machine, self._module = machine, module
        self.path = module.__file__
        self._vms = []
        self._loaded = True

    def check_loaded(self) -> None:
        """MachineError after rmmod(), or after the machine was closed."""
        self.machine.check_open()
        if not self._loaded:
            raise MachineError("kvm_intel is unloaded: insmod() it again")

    @property
    def parameters(self) -> dict:
        """The module's parameters, as sysfs would show them now."""
        self.check_loaded()
        return self.machine.kernel.parameters(self._module)

    @property
    def enable_evmcs(self) -> bool:
        """Whether the static key is on: the VMCSs are enlightened."""
        with self.machine.gate.use():
            self.check_loaded()
            return self.machine.kernel.enable_evmcs(self._module)

    @property
    def port(self) -> Port:
        """The port's functions by their kernel names."""
        self.check_loaded()
        return Port(self.machine, self._module, self.machine.gate.use, self.check_loaded)

    def create_vm(self, code: bytes = b"", memory: int = 2 << 20) -> "Vm":
        """A VM of so many bytes of memory, with code at 0x1000; ValueError where it does not
        fit, OSError with the kernel's errno."""
        self.check_loaded()
        long_mode.check(code, memory)
        gate = self.machine.gate
        with gate.use(), gate.building:
            self.check_loaded()
            raw, ret = self.machine.kernel.create_vm(memory, self.machine._some_cpu())
            if raw is None:
                raise _errno(ret, "create_vm", self.machine.kernel.log())
            vm = Vm(self, raw, memory)
            self._vms.append(vm)
            long_mode.fill(vm.memory, code, memory)
        return vm

    def rmmod(self) -> None:
        """Destroy the VMs that are left and unload: vmx_exit()."""
        self.check_loaded()
        with self.machine.gate.change():
            self.check_loaded()
            while self._vms:
                self._vms[-1].destroy()
            kernel = self.machine.kernel
            ret = kernel.unload(self._module, self.machine._some_cpu())
            if ret:
                raise _errno(ret, "rmmod kvm_intel", kernel.log())
            self.forget()

    def forget(self) -> None:
        """The module is gone, however it went."""
        self._loaded = False
        self._vms.clear()
        self.machine.module = None


class GuestMemory:
    """The physical memory of an L2 guest: GPA 0 up to size, in bytes."""

    def __init__(self, vm: "Vm", size: int):
        self._vm, self.size = vm, size

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

    def _check(self, gpa, length):
        if gpa < 0 or length < 0 or gpa + length > self.size:
            raise IndexError(f"{length} bytes at {gpa:#x} are outside the guest's {self.size:#x}")


class Vm:
    """A virtual machine."""

    def __init__(self, module: Module, raw, size: int):
        self.module, self.raw = module, raw
        self.memory = GuestMemory(self, size)
        self._vcpus = 0

    def check_alive(self) -> None:
        """MachineError once the VM, its module or the machine is gone."""
        self.module.check_loaded()
        if self.raw is None:
            raise MachineError("the VM is destroyed: create another")

    @contextlib.contextmanager
    def used(self):
        """The struct kvm, there for as long as the `with` lasts."""
        with self.module.machine.gate.use():
            self.check_alive()
            yield self.raw

    def create_vcpu(self, cpu: int = 0) -> "Vcpu":
        """A vCPU that starts at 0x1000 in 64-bit mode, created on and running on a CPU."""
        machine = self.module.machine
        with self.used() as vm, machine.gate.building:
            hardware = machine.cpu(cpu)
            raw, ret = vm.create_vcpu(self._vcpus, cpu)
            if raw is None:
                raise _errno(ret, "create_vcpu", machine.kernel.log())
            self._vcpus += 1
            vcpu = Vcpu(self, raw, cpu)
            ret = (raw.set_cpuid(cpu, long_mode.cpuid_entries(hardware))
                   or raw.set_sregs(cpu, long_mode.sregs(self.memory.size)))
            if ret:
                # As with KVM, what exists of the vCPU goes with its VM.
                raise _errno(ret, "create_vcpu", machine.kernel.log())
            vcpu.regs.update(
                rip=long_mode.START, rsp=long_mode.stack(self.memory.size), rflags=2)
        return vcpu

    def move_page(self, gpa: int, flush: bool = True) -> None:
        """Give the page at gpa another frame of L1's memory, as reclaim would, and flush every
        TLB that may know the old one (kvm_flush_remote_tlbs()). Without flush the guest goes on
        with what its TLB has: the bug to look at. IndexError outside the guest's memory."""
        self.memory._check(gpa, 1)
        machine = self.module.machine
        with self.used() as raw, machine.gate.building:
            ret = raw.move_page(gpa, flush, machine._some_cpu())
        if ret:
            raise _errno(ret, "move_page", machine.kernel.log())

    @property
    def remote_tlb_flushes(self) -> int:
        """How often the TLBs of all its vCPUs were flushed at once."""
        with self.used() as raw:
            return raw.remote_tlb_flushes

    def destroy(self) -> None:
        """Destroy the VM and its vCPUs."""
        with self.module.machine.gate.change():
            self.check_alive()
            self.raw.destroy(self.module.machine._some_cpu())
            self.raw = None
            self.module._vms.remove(self)


class Registers(Mapping):
    """The general registers of a vCPU, by name; read from KVM and written through it."""

    def __init__(self, vcpu: "Vcpu"):
        self._vcpu = vcpu

    def _all(self):
        with self._vcpu.used() as raw:
            return raw.get_regs(self._vcpu.cpu)

    def __getitem__(self, name):
        return self._all()[name]

    def __iter__(self):
        return iter(REGISTERS)

    def __len__(self):
        return len(REGISTERS)

    def items(self):
        return self._all().items()

    def __setitem__(self, name, value):
        self.update(**{name: value})

    def update(self, **values: int) -> None:
        """Set some of them; KeyError for a name that is none."""
        with self._vcpu.used() as raw:
            regs = raw.get_regs(self._vcpu.cpu)
            for name, value in values.items():
                if name not in regs:
                    raise KeyError(f"no register {name!r}: there are {', '.join(REGISTERS)}")
                regs[name] = value & (1 << 64) - 1
            raw.set_regs(self._vcpu.cpu, regs)

    def __repr__(self):
        return ", ".join(f"{name}={value:#x}" for name, value in self._all().items())


_FIELDS = {row["vmcs_field"]: row for row in fields()}


class EvmcsView(Mapping):
    """The enlightened VMCS of a vCPU as the page has it: field name to value."""

    def __init__(self, vcpu: "Vcpu"):
        self._vcpu = vcpu

    def _read(self, offset, size):
        vm = self._vcpu.vm
        vm.check_alive()
        if not vm.module.enable_evmcs:
            raise MachineError("the VMCS is not enlightened: insmod(enlightened_vmcs=True)")
        return int.from_bytes(
            vm.module.machine.memory.read(self._vcpu.vmcs_gpa + offset, size), "little")

    def __getitem__(self, name):
        row = _FIELDS[name]
        return self._read(row["offset"], row["size"])

    def __iter__(self):
        return iter(_FIELDS)

    def __len__(self):
        return len(_FIELDS)

    @property
    def clean_fields(self) -> int:
        """hv_clean_fields."""
        return self._read(824, 4)


class VmcsView:
    """The VMCS of a vCPU through the port's accessors, in either mode."""

    def __init__(self, vcpu: "Vcpu"):
        self._vcpu = vcpu

    def __getitem__(self, name):
        row = _FIELDS[name]
        vcpu = self._vcpu
        module = vcpu.vm.module
        encoding = int(row["encoding"], 16)
        kind = "l" if encoding >> 13 == 3 else str(row["size"] * 8)
        with vcpu.used() as raw, module.machine.cpu(vcpu.cpu):
            raw.load(vcpu.cpu)
            return getattr(module.port, f"vmcs_read{kind}")(encoding)


class Vcpu:
    """A virtual CPU; cpu is the CPU it runs on, and may be set to migrate it."""

    def __init__(self, vm: Vm, raw, cpu: int):
        self.vm, self.raw, self._cpu = vm, raw, cpu
        self._vmcs_gpa = raw.load(cpu)
        self._busy = Busy("the vCPU")
        self.regs = Registers(self)
        self.evmcs = EvmcsView(self)
        self.vmcs = VmcsView(self)

    @property
    def cpu(self) -> int:
        """The CPU it runs on."""
        return self._cpu

    @cpu.setter
    def cpu(self, n: int):
        self._cpu = self.vm.module.machine.cpu(n).index

    @contextlib.contextmanager
    def used(self):
        """The struct kvm_vcpu, there and this call's alone for as long as the `with` lasts."""
        with self.vm.used(), self._busy:
            yield self.raw

    def run(self, exits: int | None = None, *, stack_depth: int = 0) -> ExitSummary:
        """Run until so many VM exits, or until KVM hands one to user space, stack_depth bytes (up
        to 8192) down the thread's kernel stack. ValueError for fewer than one exit, MachineError
        where another thread is using the CPU or the vCPU."""
        if exits is not None and (not isinstance(exits, int) or not 1 <= exits < 1 << 63):
            raise ValueError(f"{exits} exits: give a number of 1 or more, or None")
        if not isinstance(stack_depth, int) or not 0 <= stack_depth <= 8192:
            raise ValueError(f"a stack depth of {stack_depth}: give 0 to 8192 bytes")
        machine = self.vm.module.machine
        with self.used() as raw:
            count, ret, reasons = raw.run(self.cpu, exits, stack_depth)
            machine._partition.check()
            if ret < 0 and ret != -errno.EINTR:
                raise _errno(ret, "run", machine.kernel.log())
            state = raw.exit_state()
        reason = KVM_EXITS.get(state["exit_reason"], str(state["exit_reason"]))
        return ExitSummary(count, reason, _exit_data(reason, state), reasons)

    def interrupt(self, vector: int) -> None:
        """KVM_INTERRUPT: queue an interrupt for the next entry. As in KVM without its APIC, user
        space must have seen ready_for_interrupt; the entry fails where the guest cannot take it."""
        if not isinstance(vector, int) or not 0 <= vector <= 255:
            raise ValueError(f"interrupt vector {vector!r}: give 0 to 255")
        with self.used() as raw:
            raw.interrupt(self.cpu, vector)

    def nmi(self) -> None:
        """KVM_NMI: an NMI as soon as the guest can take it."""
        with self.used() as raw:
            raw.nmi(self.cpu)

    @property
    def ready_for_interrupt(self) -> bool:
        """kvm_run.ready_for_interrupt_injection, as the last run left it."""
        self.vm.check_alive()
        return self.raw.ready_for_interrupt_injection

    @property
    def request_interrupt_window(self) -> bool:
        """kvm_run.request_interrupt_window: run() comes back with IRQ_WINDOW_OPEN once the guest
        can take an interrupt."""
        self.vm.check_alive()
        return self.raw.request_interrupt_window

    @request_interrupt_window.setter
    def request_interrupt_window(self, value: bool):
        self.vm.check_alive()
        self.raw.request_interrupt_window = bool(value)

    @property
    def vmcs_gpa(self) -> int:
        """Where the vCPU's VMCS page is in L1's physical memory."""
        self.vm.check_alive()
        return self._vmcs_gpa

    def trace_exits(self, on: bool = True, size: int = 65536) -> None:
        """Keep a record of each exit of this vCPU's CPU, the last `size` of them."""
        machine = self.vm.module.machine
        with machine.gate.change():
            self.vm.check_alive()
            machine.cpu(self.cpu).log_exits(size if on else 0)

    @property
    def exit_log(self) -> list[tuple[int, int, int]]:
        """(reason, qualification, guest RIP) of each exit recorded."""
        with self.vm.used():
            return [record[:3] for record in self.vm.module.machine.cpu(self.cpu).exit_log]

    @property
    def sregs(self) -> dict:
        """Segments, tables and control registers, as KVM_GET_SREGS gives them and KVM_SET_SREGS
        takes them."""
        with self.used() as raw:
            return raw.get_sregs(self.cpu)

    @sregs.setter
    def sregs(self, values: dict):
        """KVM_SET_SREGS: all of them; OSError with the kernel's errno."""
        with self.used() as raw:
            ret = raw.set_sregs(self.cpu, values)
        if ret:
            raise _errno(ret, "set_sregs", self.vm.module.machine.kernel.log())


def _exit_data(reason, state):
    """What KVM says of an exit reason."""
    if reason == "IO":
        return state["io"]
    if reason == "FAIL_ENTRY":
        return {"hardware_entry_failure_reason": state["fail_entry"]}
    if reason == "INTERNAL_ERROR":
        return state["internal"]
    if reason in ("EXCEPTION", "DEBUG"):
        return {"exception": state["exception"], "error_code": state["error_code"]}
    return {}
