# SPDX-License-Identifier: GPL-2.0-only
"""The emulated Hyper-V from Python: a partition on guest-physical memory."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport errno
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, strerror
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap
from posix.unistd cimport close, ftruncate

from kvm_vmx.abi.asm cimport CALL_FUNCTION_VECTOR, RESCHEDULE_VECTOR
from kvm_vmx.abi.hyperv_tlfs cimport hv_enlightened_vmcs
from kvm_vmx.abi.types cimport u8, u32, u64
from kvm_vmx.abi.virt_cpu cimport *
from kvm_vmx.abi.vmx cimport PIN_BASED_VMX_PREEMPTION_TIMER
from kvm_vmx.l0.hyperv cimport (
    bus_answer, bus_next, clock_migrate, clock_reference_time, enlightened_forget, io_apic_line,
    is_root, l0_go_on, msr_exits, note_stores, note_writer, partition_create, partition_destroy,
    partition_reset, port_connect, port_disconnect, refusals, root_clock, root_let_pass,
    root_reset, root_restore, root_run, root_save, root_start, root_wakes, stimers_arm,
    stimers_run, synic_signal, trace_start, trace_stop, vp_restore, vp_save,
)
from kvm_vmx.l0.state cimport *
from kvm_vmx.trap.engine cimport check_executed, trap_ops

from kvm_vmx import host
from kvm_vmx.abi.numbers import Field
from kvm_vmx.errors import MachineError
from kvm_vmx.machine.lints import ConformanceError, Lint, from_record, of_profile
from kvm_vmx.machine.outcome import (
    Fault, Outcome, Stopped, VMfailInvalid, VMfailValid, VMsucceed,
)
from kvm_vmx.machine.refusal import Refusal
from kvm_vmx.machine.shipped import profile_of
from kvm_vmx.machine.span import order_of, span
from kvm_vmx.machine.trace import TraceRecord
from kvm_vmx.machine.writer import Writer, at_address, at_line
from kvm_vmx.trap import engine as trap
from kvm_vmx.words import unknown

_MASK_64 = (1 << 64) - 1

include "process.pxi"
include "memory.pxi"
include "checks.pxi"
include "records.pxi"
include "processor_state.pxi"
include "processor.pxi"
include "whole.pxi"

cdef extern from *:
    """
    #define L0_LINT_NAME(name) #name,
    static const char *const l0_lint_names[] = { L0_LINTS(L0_LINT_NAME) };
    """
    const char *l0_lint_names[]

CACHE_POLICIES = ("always", "commit_on_success", "never", "random")
MAX_CPUS = 4096


cdef int cache_policy_number(str name) except -1:
    if name not in CACHE_POLICIES:
        raise ValueError(unknown(
            "cache policy", name, CACHE_POLICIES,
            f"the policies are {', '.join(CACHE_POLICIES)}, and random(SEED)"))
    return {"always": CACHE_ALWAYS, "never": CACHE_NEVER, "random": CACHE_RANDOM,
            "commit_on_success": CACHE_COMMIT_ON_SUCCESS}[name]


cdef int fill_profile(l0_profile *to, profile) except -1:
    """The profile's numbers; the two lists are to be freed."""
    cdef u32 i

    to.nr_leaves = len(profile.cpuid)
    to.nr_msrs = len(profile.msrs)
    to.leaf = <l0_cpuid_leaf *>malloc(to.nr_leaves * sizeof(l0_cpuid_leaf) + 1)
    to.msr = <l0_msr_value *>malloc(to.nr_msrs * sizeof(l0_msr_value) + 1)
    if to.leaf == NULL or to.msr == NULL:
        raise MemoryError("no memory for a profile")
    for i, (function, index, indexed, registers) in enumerate(profile.leaves()):
        to.leaf[i].function, to.leaf[i].index, to.leaf[i].indexed = function, index, indexed
        to.leaf[i].eax, to.leaf[i].ebx, to.leaf[i].ecx, to.leaf[i].edx = registers
    for i, (index, value) in enumerate(sorted(profile.msrs.items())):
        to.msr[i].index = index
        to.msr[i].value = value
    to.maxphyaddr = profile.maxphyaddr
    to.vmcs_revision = profile.vmcs_revision
    policies = profile.policies
    to.bad_evmcs_pointer_is_ud = policies["bad_evmcs_pointer_is_ud"]
    to.vmread_serves_evmcs = policies["vmread_serves_evmcs"]
    to.honour_msr_lists = policies["honour_msr_lists"]
    to.assist_overlay = policies["assist_overlay"]
    to.one_vp_per_evmcs = policies["one_vp_per_evmcs"]
    to.aligned_evmcs_pointer = policies["aligned_evmcs_pointer"]
    to.reject_uncovered_controls = policies["reject_uncovered_controls"]
    to.announced_debugctl = policies["announced_debugctl"]
    to.refuse_rep_start = policies["refuse_rep_start"]
    to.user_flush_is_ud = policies["user_flush_is_ud"]
    to.marks_clean_at_entry = policies["marks_clean_at_entry"]
    to.honour_page_fault_filter = policies["honour_page_fault_filter"]
    to.honour_cr3_targets = policies["honour_cr3_targets"]
    to.leaves_error_unwritten = policies["leaves_error_unwritten"]
    to.launch_trusts_clean = policies["launch_trusts_clean"]
    to.rereads_clean_groups = policies["rereads_clean_groups"]
    to.loses_assist_page = policies["loses_assist_page"]
    to.serves_stale_bitmaps = policies["serves_stale_bitmaps"]
    to.enforce_cpuid = profile.enforce_cpuid


def parse_cache_policy(text, seed: int = 0) -> tuple[str, int]:
    """(name, seed) of a policy as a user writes it: always, never, random, random(7), ..."""
    if not isinstance(text, str):
        raise ValueError(f"cache policy {text!r}: give one of {', '.join(CACHE_POLICIES)}")
    if text.startswith("random(") and text.endswith(")"):
        number = text.removeprefix("random(").removesuffix(")")
        if not number.isascii() or not number.isdigit():
            raise ValueError(f"cache policy {text!r}: give the seed as a number, as in random(7)")
        return "random", int(number)
    return text, seed


cdef writer_of(const l0_writer *found):
    """Who has written a field, as far as L0 was told."""
    cdef const l1_line *line = <const l1_line *><void *>found.where

    if found.who == WRITER_UNKNOWN:
        return None
    if found.who == WRITER_LINE:
        who = at_line(line.function.decode(), line.line)
    else:
        who = "Python" if found.who == WRITER_PYTHON else at_address(found.where)
    return Writer(who, found.entry, None if found.vp == ~<u32>0 else found.vp)


cdef class Partition:
    """The emulated Hyper-V with its virtual processors, seen by one L1 machine.

    memory is the machine's; cpus counts the processors, 1 to 4096. profile names the Hyper-V to
    be ("kvm-6.12", "tlfs-strict", "ice-lake", or a TOML file's name); cpuid, msrs, maxphyaddr
    and enforce_cpuid change it as kvm_vmx.l0.profile.build says. cache_policy is how L0 uses
    the clean fields: "always", "never", "random", "random(SEED)" or "commit_on_success". lints
    looks, at a cost, for what L1 may not do; strict does too, and stops at the first. insn is
    the form of the processors' instructions: "call", "trap", or None for the environment's. tick
    is the vector of the timer interrupt that L1 has set up: where L1 has external interrupts
    exit, it comes when L2 has run for long without an exit, or only waits. unfinished takes
    controls on offer that L0 checks at an entry and then does not do, too. faults names what a
    Hyper-V has done wrong, and this one does: those of kvm_vmx.l0.faults. Bad values raise
    ValueError.
    """

    def __cinit__(self, PhysicalMemory memory not None, int cpus=1, profile="kvm-6.12",
                  cache_policy="always", seed=0, bint strict=False, cpuid=None, msrs=None,
                  maxphyaddr=None, enforce_cpuid=None, bint lints=False, insn=None, tick=None,
                  bint unfinished=False, faults=()):
        cdef l0_profile numbers

        if not 1 <= cpus <= MAX_CPUS:
            raise ValueError(f"{cpus} processors: give a number from 1 to {MAX_CPUS}")
        self.owner = this_process()
        check_process(memory.owner)
        if tick is not None and not 16 <= tick <= 255:
            raise ValueError(f"timer vector {tick!r}: give 16 to 255, or None")
        self.by_trap = trap.chosen(insn)
        self.memory = memory
        self.profile = profile_of(
            profile, cpuid=cpuid, msrs=msrs, maxphyaddr=maxphyaddr, enforce_cpuid=enforce_cpuid,
            unfinished=unfinished, faults=faults)
        self.cache_policy, seed = parse_cache_policy(cache_policy, seed)
        number = cache_policy_number(self.cache_policy)
        numbers.leaf = NULL
        numbers.msr = NULL
        try:
            fill_profile(&numbers, self.profile)
            self.partition = partition_create(
                &memory.mem, &numbers, cpus, number, seed & _MASK_64, strict, lints)
        finally:
            free(numbers.leaf)
            free(numbers.msr)
        if self.partition == NULL:
            raise MemoryError(f"no memory for {cpus} processors")
        if self.partition.lints_enabled and memory.mem.written == NULL:
            # pages that are zero until somebody writes into a VMCS
            memory.mem.written = calloc(1, sizeof(l0_written))
            memory.mem.wrote = note_writer
        if tick is not None:
            self.partition.tick = 0x100 | <u32>tick

    def __dealloc__(self):
        # what a thread of the parent was changing may be in no state to be freed
        if not is_foreign(self.owner):
            partition_destroy(self.partition)

    def __len__(self):
        return self.partition.nr_vps

    def processor(self, n: int) -> Processor:
        """Processor n as hardware; IndexError where there is none."""
        cdef Processor processor

        check_process(self.owner)
        if not 0 <= n < self.partition.nr_vps:
            raise IndexError(f"no processor {n}: there are {self.partition.nr_vps}")
        processor = Processor.__new__(Processor, _MADE)
        # the processor's state lives in the partition
        processor.partition = self
        processor.owner = self.owner
        processor.vp = &self.partition.vp[<u32>n]
        return processor

    def counters(self, cpu: int | None = None) -> dict[str, int]:
        """What L0 has done, by name: of one processor, or of all together."""
        if cpu is not None:
            return self.processor(cpu).counters()
        total = dict.fromkeys(self.processor(0).counters(), 0)
        for n in range(len(self)):
            for name, count in self.processor(n).counters().items():
                total[name] += count
        return total

    def lints(self) -> list[Lint]:
        """What L0 noticed and let pass, on any processor, in the order of their entries."""
        cdef l0_lint_record *record
        cdef l0_vp *vp
        cdef u32 n, i

        check_process(self.owner)
        found = []
        for n in range(self.partition.nr_vps):
            vp = &self.partition.vp[n]
            for i in range(vp.nr_lint_records):
                record = &vp.lint_record[i]
                refused = None
                if record.what in (LINT_entry_refused, LINT_assist_page_unset):
                    refused = check_of(vp, record.offset & ~L0_OF_CHECK)
                found.append(from_record(
                    l0_lint_names[record.what].decode(), n,
                    None if record.offset == L0_NO_FIELD else record.offset,
                    count=record.count, entry=record.first_entry, last_entry=record.last_entry,
                    found=record.found, kept=record.kept, refused=refused,
                    writer=writer_of(&record.writer)))
        found.sort(key=lambda lint: (lint.entry, lint.cpu))
        if self.partition.lints_enabled:
            return of_profile(self.profile) + found
        return found

    @property
    def crash(self) -> tuple[int, ...] | None:
        """The five words that L1 has left of its end by the crash MSRs, or None."""
        return tuple(self.partition.crash) if self.partition.crashes else None

    @property
    def resets(self) -> int:
        """How often L1 has asked for a reset of the partition; nobody is here to do it."""
        return self.partition.resets

    def start_trace(self, size=65536, cpu: int | None = None) -> None:
        """Keep a record of each instruction of L1, of the last `size` on each processor, or on
        one; what was traced on the others before can still be read."""
        check_process(self.owner)
        if not isinstance(size, int) or not 1 <= size <= 1 << 24:
            raise ValueError(f"a trace of {size!r} instructions: give 1 to {1 << 24}")
        for n in range(len(self)) if cpu is None else [self.processor(cpu).index]:
            if not trace_start(&self.partition.vp[<u32>n], size):
                self.stop_trace()
                raise MemoryError(f"no memory for a trace of {size} instructions")

    def stop_trace(self) -> None:
        """Trace no more; what was traced can still be read."""
        check_process(self.owner)
        for n in range(len(self)):
            trace_stop(&self.partition.vp[<u32>n])

    @property
    def trace(self) -> list:
        """The records of all processors in the order of the instructions."""
        check_process(self.owner)
        found = []
        for n in range(len(self)):
            found += records_of(&self.partition.vp[<u32>n])
        return sorted(found, key=lambda record: record.sequence)

    def check(self) -> None:
        """ConformanceError where a strict partition has stopped."""
        check_process(self.owner)
        if self.partition.stopped:
            raise ConformanceError(next(
                lint for lint in self.lints()
                if lint.cpu == self.partition.stopped_vp and lint.name != "entry_refused"))

    def reset(self) -> None:
        """Reset the partition: each processor and its MSRs begin anew; memory, the clock, the
        words of a crash and all that L0 has counted and noticed stay."""
        check_process(self.owner)
        partition_reset(self.partition)

    def announce(self, bint ports, pages: list[tuple[int, int]]) -> None:
        """Where devices are from here on: at the ports or not, and in the bytes from the first to
        the last address of each pair."""
        cdef l0_devices *devices = &self.partition.devices

        check_process(self.owner)
        if len(pages) > L0_DEVICE_RANGES:
            raise ValueError(f"devices in {len(pages)} ranges of pages: there is place for "
                             f"{L0_DEVICE_RANGES}")
        devices.ports = ports
        devices.nr_ranges = 0
        for first, last in pages:
            devices.first[devices.nr_ranges] = first
            devices.last[devices.nr_ranges] = last
            devices.nr_ranges += 1

    def migrate(self, ratio: float = 1.0) -> None:
        """Move to another host, whose TSC ticks ratio times as fast as this one's: L0 forgets
        what it holds of each eVMCS, and L1 is told as it asked to be."""
        cdef u32 n

        check_process(self.owner)
        if not 0.001 <= ratio <= 1000:
            raise ValueError(f"a TSC {ratio!r} times as fast: give a number from 0.001 to 1000")
        clock_migrate(self.partition, <u64>(ratio * 4294967296.0))
        for n in range(self.partition.nr_vps):
            enlightened_forget(&self.partition.vp[n])
