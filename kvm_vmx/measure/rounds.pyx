# SPDX-License-Identifier: GPL-2.0-only
"""Loops on a CPU of the L1 kernel: in interleaved timed batches, or between marks for callgrind."""

from libc.stdlib cimport calloc, free
from libc.string cimport memset

from kvm_vmx.abi.hyperv_tlfs cimport hv_enlightened_vmcs
from kvm_vmx.abi.linux cimport current
from kvm_vmx.abi.types cimport u32, u64
from kvm_vmx.abi.virt_cpu cimport virt_cpu
from kvm_vmx.l1.kvm_host cimport kvm_vcpu_t
from kvm_vmx.l1.x86 cimport kvm_arch_vcpu_ioctl_run
from kvm_vmx.machine.kernel cimport Kernel

cdef extern from *:
    """
    #include <asm/percpu.h>
    #include <linux/sched.h>

    typedef void (*loop_t)(unsigned long n, unsigned long arg);

    static struct virt_cpu *this_virt_cpu(void) { return this_cpu_read(virt_cpu); }
    static void *this_vmcs(void) { return this_cpu_read(current_vmcs); }

    /* Profiles are dumped before each call of this. */
    static noinline void measure_mark(void) { __asm__ __volatile__(""); }

    /* Valgrind takes these five, which change nothing, for a request that RAX points to. */
    static noinline void count_from_here(void)
    {
        volatile unsigned long request[6] = {'C' << 24 | 'T' << 16 | 4}, answer = 0;

        __asm__ __volatile__("rol $3, %%rdi\\n\\trol $13, %%rdi\\n\\trol $61, %%rdi\\n\\t"
                             "rol $51, %%rdi\\n\\txchg %%rbx, %%rbx"
                             : "+d"(answer) : "a"(request) : "memory", "cc");
    }

    /* LFENCE, not CPUID: in a virtual machine CPUID is an exit. */
    static unsigned long ticks_before(void)
    {
        unsigned int low, high;
        __asm__ __volatile__("lfence\\n\\trdtsc\\n\\tlfence" : "=a"(low), "=d"(high) : : "memory");
        return (unsigned long)high << 32 | low;
    }

    static unsigned long ticks_after(void)
    {
        unsigned int low, high;
        __asm__ __volatile__("rdtscp\\n\\tlfence" : "=a"(low), "=d"(high) : : "rcx", "memory");
        return (unsigned long)high << 32 | low;
    }
    """
    ctypedef void (*loop_t)(u64 n, u64 arg) noexcept nogil
    virt_cpu *this_virt_cpu() noexcept nogil
    void *this_vmcs() noexcept nogil
    void measure_mark() noexcept nogil
    void count_from_here() noexcept nogil
    u64 ticks_before() noexcept nogil
    u64 ticks_after() noexcept nogil

cdef struct plan:
    loop_t *loop
    u64 *arg
    u64 *ticks
    u64 loops
    u64 ops
    u64 rounds


cdef void exits(u64 n, u64 vcpu_address) noexcept nogil:
    # n VM exits, L1's handling included, as vcpu.run(exits=n) makes them.
    cdef kvm_vcpu_t *vcpu = <kvm_vcpu_t *>vcpu_address
    cdef u64 end = vcpu.stat.exits + n

    vcpu.arch.exits_until = end
    # the signal that ended the batch before
    current.sigpending = 0
    while vcpu.stat.exits != end:
        kvm_arch_vcpu_ioctl_run(vcpu)


cdef void entries(u64 n, u64 dirty) noexcept nogil:
    # n times VMRESUME alone, each with these clean bits cleared.
    cdef virt_cpu *cpu = this_virt_cpu()
    cdef hv_enlightened_vmcs *evmcs = <hv_enlightened_vmcs *>this_vmcs()
    cdef u64 regs[16]

    memset(regs, 0, sizeof(regs))
    while n:
        evmcs.hv_clean_fields = <u32>(0xffff & ~dirty)
        cpu.ops.vmentry(cpu, regs, 0)
        n -= 1


cdef u64 stride(u64 r, u64 n) noexcept nogil:
    # How far from one loop to the next: prime to n, and another from round to round, so that
    # no loop always runs behind the same one.
    cdef u64 a = n, b, step = 1 + r % n

    b = step
    while b:
        a, b = b, a % b
    return step if a == 1 else 1


cdef void run_rounds(void *argument) noexcept nogil:
    cdef plan *p = <plan *>argument
    cdef u64 r, k, i, start, step

    for r in range(p.rounds):
        step = stride(r, p.loops)
        for k in range(p.loops):
            i = (r + k * step) % p.loops
            start = ticks_before()
            p.loop[i](p.ops, p.arg[i])
            p.ticks[i * p.rounds + r] = ticks_after() - start


cdef void run_marked(void *argument) noexcept nogil:
    cdef plan *p = <plan *>argument
    cdef u64 i

    count_from_here()
    for i in range(p.loops):
        p.loop[i](p.ops, p.arg[i])
        measure_mark()
        p.loop[i](p.ops, p.arg[i])
        measure_mark()
        p.loop[i](2 * p.ops, p.arg[i])
        measure_mark()


def order(r: int, n: int) -> list[int]:
    """The order of n loops in round r."""
    return [(r + k * stride(r, n)) % n for k in range(n)]


def read_tsc() -> int:
    """The time-stamp counter, now."""
    return ticks_after()


EXITS = <size_t>&exits
ENTRIES = <size_t>&entries


cdef class Loops:
    """Loops (address, argument) to run on one CPU of a kernel."""

    cdef Kernel kernel
    cdef int cpu
    cdef plan plan

    def __cinit__(self, Kernel kernel, int cpu, list loops):
        self.kernel, self.cpu = kernel, cpu
        self.plan.loops = len(loops)
        self.plan.loop = <loop_t *>calloc(len(loops) + 1, sizeof(loop_t))
        self.plan.arg = <u64 *>calloc(len(loops) + 1, sizeof(u64))
        if self.plan.loop == NULL or self.plan.arg == NULL:
            raise MemoryError("no memory for the loops")
        for i, (address, arg) in enumerate(loops):
            self.plan.loop[i] = <loop_t><size_t>address
            self.plan.arg[i] = arg

    def __dealloc__(self):
        free(self.plan.loop)
        free(self.plan.arg)

    def timed(self, rounds: int, ops: int) -> list[list[int]]:
        """TSC ticks of each loop's batches of `ops`, round by round; the order rotates, with a
        stride that changes."""
        self.plan.rounds, self.plan.ops = rounds, ops
        self.plan.ticks = <u64 *>calloc(self.plan.loops * rounds + 1, sizeof(u64))
        if self.plan.ticks == NULL:
            raise MemoryError("no memory for the rounds: ask for fewer")
        try:
            self.kernel.call(self.cpu, run_rounds, &self.plan)
            return [[self.plan.ticks[i * rounds + r] for r in range(rounds)]
                    for i in range(self.plan.loops)]
        finally:
            free(self.plan.ticks)

    def marked(self, ops: int) -> None:
        """Each loop for `ops` and for twice as many, between calls of measure_mark()."""
        self.plan.ops = ops
        self.kernel.call(self.cpu, run_marked, &self.plan)
