# SPDX-License-Identifier: GPL-2.0-only
"""Instructions by trap: what this platform can, which text may trap, how often each has."""

import os
import signal
import threading

from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from kvm_vmx.abi.types cimport PAGE_SIZE, u32, u64, ulong
from kvm_vmx.abi.virt_cpu cimport virt_cpu_ops

from kvm_vmx import host
from kvm_vmx.errors import MachineError

cdef extern from "kvm_vmx/trap/bare_cpu.h" nogil:
    """
    static const char *const trap_op_names[] = {
    #define TRAP_OP_NAME(name, ...) #name,
    INSN_FAULTING(TRAP_OP_NAME)
    };
    #define bare_text_start ((unsigned long)__start_trap_text)
    #define bare_text_end ((unsigned long)__stop_trap_text)
    """
    ctypedef struct trap_scope "struct trap_scope":
        pass
    enum:
        NR_TRAP_OPS
        TRAP_CPUS
        TRAP_vmcall
        TRAP_cpuid
    const char *trap_op_names[]
    u64 trap_counts[TRAP_CPUS][NR_TRAP_OPS]
    virt_cpu_ops bare_ops
    ulong bare_text_start
    ulong bare_text_end
    void trap_step_by(ulong function)
    ctypedef struct trap_place "struct trap_place":
        u64 rip
        u32 op
    trap_place *trap_places
    size_t trap_places_room
    size_t trap_places_taken
    int trap_blocked()
    enum:
        NR_TRAP_SIGNALS
    int trap_enter(trap_scope *scope, void *stack, size_t size, int signals)
    void trap_leave(trap_scope *scope)
    int trap_add_text(u64 start, u64 end, u64 entries, u64 entries_end, bint hosts)
    void trap_del_text(u64 start)
    void trap_forget()
    ctypedef struct stack_t:
        void *ss_sp
        size_t ss_size
    stack_t bare_stack
    bint bare_fsgsbase
    int bare_error
    bint trap_stacks_stay
    u32 trap_probe()
    void bare_calls(u32 silent)

cdef extern from "sys/mman.h" nogil:
    void *mmap(void *addr, size_t length, int prot, int flags, int fd, long offset)
    int munmap(void *addr, size_t length)
    int mprotect(void *addr, size_t len, int prot)
    enum:
        PROT_NONE
        PROT_READ
        PROT_WRITE
        PROT_EXEC
        MAP_PRIVATE
        MAP_ANONYMOUS
        MAP_FAILED

cdef enum:
    STACK = 64 << 10

# Instructions that need not trap, and the capability of a host where they do.
OPTIONAL = {"vmcall": "vmcall-faulting", "cpuid": "cpuid-faulting"}

_local = threading.local()
_probe_lock = threading.Lock()
_silent = None

cdef int trap_bind(trap_binding *binding, void *stack, size_t size) noexcept nogil:
    return trap_enter(<trap_scope *>binding.scope, stack, size, NR_TRAP_SIGNALS)


cdef void trap_unbind(trap_binding *binding) noexcept nogil:
    trap_leave(<trap_scope *>binding.scope)


cdef const virt_cpu_ops *trap_ops() except NULL:
    cdef Stacks stacks = thread_stacks()

    bare_stack.ss_sp = stacks.signal_stack
    bare_stack.ss_size = stacks.signal_size
    return &bare_ops


cdef int check_signals() except -1:
    # A signal that is blocked when its instruction raises it ends the process.
    blocked = trap_blocked()
    if blocked:
        raise MachineError(f"{signal.Signals(blocked).name} is blocked in this thread, so "
                           "instructions cannot trap: unblock it, or use insn='call'")
    return 0


cdef int check_executed() except -1:
    global bare_error
    cdef int error = bare_error

    bare_error = 0
    if error:
        raise MachineError(f"the instruction cannot trap: the host refuses a signal stack or a "
                           f"handler ({os.strerror(error)}): use insn='call'")
    return 0


cdef void step_from_trap(size_t function) noexcept nogil:
    trap_step_by(function)


def silent() -> frozenset[str]:
    """The instructions that do not trap on this host: each is executed once in a process."""
    global _silent, bare_fsgsbase
    bare_fsgsbase = host.has("fsgsbase")
    with _probe_lock:
        trap_ops()
        if _silent is None:
            trap_add_text(bare_text_start, bare_text_end, 0, 0, False)
            bits = trap_probe()
            check_executed()
            _silent = frozenset(
                trap_op_names[i].decode() for i in range(<int>NR_TRAP_OPS) if bits >> i & 1)
    return _silent


def probe() -> frozenset[str]:
    """The instructions that stay calls here; ValueError where the form cannot do without.

    VMCALL may, since a hypervisor beneath may answer it itself, and CPUID, which faults only
    where the host offers that.
    """
    needed = sorted(silent() - OPTIONAL.keys())
    if needed:
        raise ValueError(f"no trap on this platform by {', '.join(needed)}: use insn='call'")
    found = frozenset(name for name, capability in OPTIONAL.items()
                      if name in _silent or not host.has(capability))
    bare_calls(("vmcall" in found) << <int>TRAP_vmcall | ("cpuid" in found) << <int>TRAP_cpuid)
    return found


def calls() -> list[str]:
    """The instructions that stay calls to the processor where the others trap, in the order of
    the alphabet. MOV to CR is one: it is no part of what a hypervisor's cost is made of."""
    return sorted(probe() | {"mov_to_cr"})


def chosen(insn: str | None) -> bool:
    """Whether instructions trap: "call", "trap", or None for what KVM_VMX_INSN says (by call).

    ValueError for anything else, and where this platform cannot.
    """
    if insn is None:
        insn = os.environ.get("KVM_VMX_INSN") or "call"
    if insn not in ("call", "trap"):
        raise ValueError(f"instructions by {insn!r}: give 'call' or 'trap'")
    if insn == "trap":
        probe()
    return insn == "trap"


def counts(cpus: int) -> dict[str, int]:
    """How often each instruction has trapped on processors 0 to cpus - 1."""
    cdef int op, cpu

    total = dict.fromkeys((trap_op_names[op].decode() for op in range(<int>NR_TRAP_OPS)), 0)
    for op, name in enumerate(total):
        for cpu in range(cpus):
            total[name] += trap_counts[cpu][op]
    return total


def note_places(size_t room) -> None:
    """Note where each opcode stands that traps from now on, up to so many; 0 forgets them."""
    global trap_places, trap_places_room, trap_places_taken
    cdef trap_place *places = NULL

    if room:
        places = <trap_place *>calloc(room, sizeof(trap_place))
        if places == NULL:
            raise MemoryError(f"no memory for {room} places")
    free(trap_places)
    trap_places, trap_places_room, trap_places_taken = places, room, 0


def places() -> list[tuple[int, str]]:
    """(address, name) of each instruction that has trapped since note_places()."""
    cdef size_t n

    return [(trap_places[n].rip, trap_op_names[trap_places[n].op].decode())
            for n in range(trap_places_taken)]


def reset_counts() -> None:
    """A machine that has just booted has trapped nothing."""
    memset(trap_counts, 0, sizeof(trap_counts))


def add_text(start: int, end: int, entries: tuple[int, int] = (0, 0),
             hosts: bool = False) -> None:
    """Let text of this process trap; entries is its section vm_return, which says where exits go:
    behind the entry without one, or, where hosts is true, where their host state sends them."""
    if trap_add_text(start, end, entries[0], entries[1], hosts):
        raise MachineError("too many texts that trap: free one")


def del_text(start: int) -> None:
    """Let the text that begins there trap no more."""
    trap_del_text(start)


cdef class Text:
    """Machine code of one's own that may trap, for as long as the object lives."""

    def __cinit__(self, code: bytes):
        cdef const unsigned char[::1] view = code

        self.size = (len(code) + PAGE_SIZE - 1) & ~<size_t>(PAGE_SIZE - 1)
        self.memory = mmap(
            NULL, self.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if self.memory == <void *>MAP_FAILED:
            self.memory = NULL
            raise MemoryError("no memory for text")
        memcpy(self.memory, &view[0], len(code))
        if mprotect(self.memory, self.size, PROT_READ | PROT_EXEC):
            raise MachineError("this platform lets no memory be made executable")
        self.address = <u64>self.memory
        add_text(self.address, self.address + self.size)

    def __dealloc__(self):
        if self.memory != NULL:
            trap_del_text(<u64>self.memory)
            munmap(self.memory, self.size)


cdef class Stacks:
    """A kernel stack and a signal stack of a thread, each above a page that no one may touch."""

    def __cinit__(self):
        cdef size_t stride = PAGE_SIZE + STACK

        self.size = 2 * stride
        self.memory = mmap(
            NULL, self.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if self.memory == <void *>MAP_FAILED:
            self.memory = NULL
            raise MemoryError("no memory for a kernel stack")
        if mprotect(self.memory, PAGE_SIZE, PROT_NONE) or \
                mprotect(<char *>self.memory + stride, PAGE_SIZE, PROT_NONE):
            raise MemoryError("no page can be kept below a kernel stack")
        self.signal_stack = <char *>self.memory + PAGE_SIZE
        self.signal_size = STACK
        self.kernel_end = <ulong>self.memory + self.size

    def __dealloc__(self):
        if self.memory != NULL and not trap_stacks_stay:
            munmap(self.memory, self.size)


cdef Stacks thread_stacks():
    """This thread's; MachineError where it blocks a signal that it needs."""
    check_signals()
    try:
        return _local.stacks
    except AttributeError:
        _local.stacks = Stacks()
        return _local.stacks


def _forget():
    trap_forget()


os.register_at_fork(after_in_child=_forget)


include "single_step.pxi"
include "host_cpuid.pxi"
