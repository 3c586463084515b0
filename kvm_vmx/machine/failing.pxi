# SPDX-License-Identifier: GPL-2.0-only
# Instructions that fail when told to: between L1 and L0, in the table through which they go.

cdef enum:
    FAIL_MSR
    FAIL_ONE_MSR
    FAIL_HYPERCALL
    PREEMPTED
    NR_FAILING

cdef enum:
    # What Hyper-V answers where a partition lacks the means.
    HV_STATUS_INSUFFICIENT_MEMORY = 11

    # So many instructions that have failed are kept.
    NR_STRUCK = 16

ctypedef struct struck_t:
    bint write
    bint call
    u32 msr, cpu

cdef long countdown[NR_FAILING]
cdef u32 one_msr
cdef struck_t struck[NR_STRUCK]
cdef u32 nr_struck
cdef const virt_cpu_ops *real
cdef virt_cpu_ops failing


cdef bint strikes(int kind) noexcept nogil:
    if countdown[kind] == 0:
        return False
    countdown[kind] -= 1
    return countdown[kind] == 0


cdef void keep(const virt_cpu *cpu, bint write, bint call, u32 msr) noexcept nogil:
    global nr_struck
    cdef struck_t *one = &struck[nr_struck]

    if nr_struck == NR_STRUCK:
        return
    one.write, one.call, one.msr, one.cpu = write, call, msr, cpu.index
    nr_struck += 1


# Both count, where both were asked for.
cdef bint msr_strikes(const virt_cpu *cpu, u32 msr, bint write) noexcept nogil:
    cdef bint found = msr == one_msr and strikes(FAIL_ONE_MSR)

    found = strikes(FAIL_MSR) or found
    if found:
        keep(cpu, write, False, msr)
    return found


cdef insn_t rdmsr(virt_cpu *cpu, u32 msr, u64 *value) noexcept nogil:
    if msr_strikes(cpu, msr, False):
        return INSN_MAKE_FAULT(X86_TRAP_GP, 0)
    return real.rdmsr(cpu, msr, value)


cdef insn_t wrmsr(virt_cpu *cpu, u32 msr, u64 value) noexcept nogil:
    if msr_strikes(cpu, msr, True):
        return INSN_MAKE_FAULT(X86_TRAP_GP, 0)
    return real.wrmsr(cpu, msr, value)


cdef insn_t vmcall(virt_cpu *cpu, u64 *regs) noexcept nogil:
    if strikes(FAIL_HYPERCALL):
        keep(cpu, False, True, <u32>regs[<int>GPR_RCX])
        regs[GPR_RAX] = HV_STATUS_INSUFFICIENT_MEMORY
        return INSN_OK
    return real.vmcall(cpu, regs)


cdef insn_t vmwrite(virt_cpu *cpu, u64 field, u64 value) noexcept nogil:
    # Not a failure: the thread's time slice ends here, or where the kernel next lets it.
    cdef percpu_area *area = cpu_area(cpu.index)

    if (countdown[PREEMPTED] != 1 or not (area.preempt_count or area.irqs_disabled)) \
            and strikes(PREEMPTED):
        preempt_schedule()
    return real.vmwrite(cpu, field, value)


# Wherever a processor has the one table it gets the other: below a trace that runs or has run, too.
cdef void exchange(l0_vp *vp, const virt_cpu_ops *old, const virt_cpu_ops *new) noexcept nogil:
    if vp.cpu.ops == old:
        vp.cpu.ops = new
    if vp.trace.ops == old:
        vp.trace.ops = new


# From now on the nth instruction of a kind fails, on whichever processor; 0 takes it back.
cdef void failing_nth(l0_partition *partition, int kind, long nth) noexcept nogil:
    global real, failing
    cdef u32 i

    if real == NULL:
        # a trace lies above
        real = partition.vp[0].trace.ops if partition.vp[0].trace.ops else partition.vp[0].cpu.ops
        failing = real[0]
        failing.rdmsr = rdmsr
        failing.wrmsr = wrmsr
        failing.vmcall = vmcall
        failing.vmwrite = vmwrite
    countdown[kind] = nth
    for i in range(partition.nr_vps):
        exchange(&partition.vp[i], real, &failing)


# Which MSR FAIL_ONE_MSR is about.
cdef void failing_msr(u32 msr) noexcept nogil:
    global one_msr
    one_msr = msr


# The instructions that have failed so since failing_none(), in words.
cdef list failing_struck():
    return [(struck[i].cpu, "hypercall" if struck[i].call else
             "WRMSR" if struck[i].write else "RDMSR", struck[i].msr) for i in range(nr_struck)]


# How many instructions of a kind the count still waits for; 0 once it has struck.
cdef long failing_left(int kind) noexcept nogil:
    return countdown[kind]


# No instruction fails any more.
cdef void failing_none(l0_partition *partition) noexcept nogil:
    global real, nr_struck
    cdef int kind
    cdef u32 i

    for kind in range(NR_FAILING):
        countdown[kind] = 0
    nr_struck = 0
    if real == NULL:
        return
    for i in range(partition.nr_vps):
        exchange(&partition.vp[i], &failing, real)
    real = NULL
