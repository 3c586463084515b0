# SPDX-License-Identifier: GPL-2.0-only
# The trace: a second table of instructions that does each by the first, and writes it down.

cdef extern from *:
    u64 __atomic_fetch_add(u64 *at, u64 value, int order) nogil


# The record of an instruction that begins now. Its number is taken before it does anything.
cdef l0_trace_record *begin_record(l0_vp *vp, u32 insn, u64 a, u64 b, u64 c) noexcept nogil:
    cdef l0_trace_record *record = &vp.trace.record[vp.trace.end % vp.trace.size]

    vp.trace.end += 1
    record.sequence = __atomic_fetch_add(&vp.partition.traced, 1, 0)
    record.insn = insn
    record.operand[0] = a
    record.operand[1] = b
    record.operand[2] = c
    record.result[0] = record.result[1] = 0
    record.l2_instructions = record.groups_reread = record.bytes_reread = 0
    record.refusal.check = CHECK_none
    record.denials = vp.denials
    return record


cdef insn_t end(l0_vp *vp, l0_trace_record *record, insn_t status) noexcept nogil:
    record.status = status
    # while an entry lasts it is not its own: an exit's list of MSRs, or a hypercall of L2
    if record.denials != vp.denials and \
            record.insn != <u32>TRACED_vmlaunch and record.insn != <u32>TRACED_vmresume:
        record.refusal = vp.denied
    if status == INSN_VMFAIL_VALID:
        record.result[0] = vp.current_vmcs.f.vm_instruction_error
        if vp.active_evmcs != L0_NO_VMCS:
            record.result[0] = vp.evmcs_cache.f.vm_instruction_error
    return status


cdef insn_t traced_cpuid(virt_cpu *cpu, u32 *eax, u32 *ebx, u32 *ecx, u32 *edx) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef l0_trace_record *record = begin_record(vp, TRACED_cpuid, eax[0], ecx[0], 0)
    cdef insn_t status = vp.trace.ops.cpuid(cpu, eax, ebx, ecx, edx)

    record.result[0] = eax[0] | <u64>ebx[0] << 32
    record.result[1] = ecx[0] | <u64>edx[0] << 32
    return end(vp, record, status)


cdef insn_t traced_rdmsr(virt_cpu *cpu, u32 msr, u64 *value) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef l0_trace_record *record = begin_record(vp, TRACED_rdmsr, msr, 0, 0)
    cdef insn_t status = vp.trace.ops.rdmsr(cpu, msr, value)

    if status == INSN_OK:
        record.result[0] = value[0]
    return end(vp, record, status)


cdef insn_t traced_wrmsr(virt_cpu *cpu, u32 msr, u64 value) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef l0_trace_record *record = begin_record(vp, TRACED_wrmsr, msr, value, 0)

    return end(vp, record, vp.trace.ops.wrmsr(cpu, msr, value))


cdef insn_t traced_mov_to_cr(virt_cpu *cpu, u32 cr, u64 value) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef l0_trace_record *record = begin_record(vp, TRACED_mov_to_cr, cr, value, 0)

    return end(vp, record, vp.trace.ops.mov_to_cr(cpu, cr, value))


cdef insn_t traced_vmxon(virt_cpu *cpu, u64 pa) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef l0_trace_record *record = begin_record(vp, TRACED_vmxon, pa, 0, 0)

    return end(vp, record, vp.trace.ops.vmxon(cpu, pa))


cdef insn_t traced_vmxoff(virt_cpu *cpu) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef l0_trace_record *record = begin_record(vp, TRACED_vmxoff, 0, 0, 0)

    return end(vp, record, vp.trace.ops.vmxoff(cpu))


cdef insn_t traced_vmclear(virt_cpu *cpu, u64 pa) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef l0_trace_record *record = begin_record(vp, TRACED_vmclear, pa, 0, 0)

    return end(vp, record, vp.trace.ops.vmclear(cpu, pa))


cdef insn_t traced_vmptrld(virt_cpu *cpu, u64 pa) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef l0_trace_record *record = begin_record(vp, TRACED_vmptrld, pa, 0, 0)

    return end(vp, record, vp.trace.ops.vmptrld(cpu, pa))


cdef insn_t traced_vmptrst(virt_cpu *cpu, u64 *pa) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef l0_trace_record *record = begin_record(vp, TRACED_vmptrst, 0, 0, 0)
    cdef insn_t status = vp.trace.ops.vmptrst(cpu, pa)

    if status == INSN_OK:
        record.result[0] = pa[0]
    return end(vp, record, status)


cdef insn_t traced_vmread(virt_cpu *cpu, u64 field, u64 *value) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef l0_trace_record *record = begin_record(vp, TRACED_vmread, field, 0, 0)
    cdef insn_t status = vp.trace.ops.vmread(cpu, field, value)

    if status == INSN_OK:
        record.result[0] = value[0]
    return end(vp, record, status)


cdef insn_t traced_vmwrite(virt_cpu *cpu, u64 field, u64 value) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef l0_trace_record *record = begin_record(vp, TRACED_vmwrite, field, value, 0)

    return end(vp, record, vp.trace.ops.vmwrite(cpu, field, value))


# The result of an entry is the exit: its reason and qualification. What lies between is what
# the counters have moved.
# The VMCS that an entry is about to try: an eVMCS's address, or the current VMCS's.
cdef u64 tried(l0_vp *vp) noexcept nogil:
    cdef u64 pointer

    return pointer if enlightened_pointer(vp, &pointer) else vp.current_vmptr


cdef insn_t traced_vmentry(virt_cpu *cpu, u64 *regs, bint launch) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef l0_trace_record *record = begin_record(
        vp, TRACED_vmlaunch if launch else TRACED_vmresume, tried(vp), 0, 0)
    cdef l0_counters before = l0_counters_now(vp), now
    cdef insn_t status = vp.trace.ops.vmentry(cpu, regs, launch)
    cdef const l0_vmcs *v = &vp.current_vmcs

    if vp.active_evmcs != L0_NO_VMCS:
        v = &vp.evmcs_cache
    now = l0_counters_now(vp)
    record.l2_instructions = now.l2_instructions - before.l2_instructions
    record.groups_reread = <u32>(now.groups_reread - before.groups_reread)
    record.bytes_reread = <u32>(now.bytes_reread - before.bytes_reread)
    if status == INSN_OK:
        record.result[0] = v.f.vm_exit_reason
        record.result[1] = v.f.exit_qualification
    if vp.refusal.entry == vp.counters.vmlaunch + vp.counters.vmresume:
        record.refusal = vp.refusal
    return end(vp, record, status)


cdef insn_t traced_invept(virt_cpu *cpu, u64 type, u64 eptp, u64 gpa) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef l0_trace_record *record = begin_record(vp, TRACED_invept, type, eptp, gpa)

    return end(vp, record, vp.trace.ops.invept(cpu, type, eptp, gpa))


cdef insn_t traced_invvpid(virt_cpu *cpu, u64 type, u64 vpid, u64 gla) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef l0_trace_record *record = begin_record(vp, TRACED_invvpid, type, vpid, gla)

    return end(vp, record, vp.trace.ops.invvpid(cpu, type, vpid, gla))


cdef insn_t traced_vmcall(virt_cpu *cpu, u64 *regs) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu
    cdef l0_trace_record *record = begin_record(
        vp, TRACED_vmcall, regs[<int>GPR_RCX], regs[<int>GPR_RDX], regs[<int>GPR_R8])
    cdef insn_t status = vp.trace.ops.vmcall(cpu, regs)

    if status == INSN_OK:
        record.result[0] = regs[<int>GPR_RAX]
    return end(vp, record, status)

cdef virt_cpu_ops traced_ops
traced_ops.cpuid = traced_cpuid
traced_ops.rdmsr = traced_rdmsr
traced_ops.wrmsr = traced_wrmsr
traced_ops.mov_to_cr = traced_mov_to_cr
traced_ops.vmxon = traced_vmxon
traced_ops.vmxoff = traced_vmxoff
traced_ops.vmclear = traced_vmclear
traced_ops.vmptrld = traced_vmptrld
traced_ops.vmptrst = traced_vmptrst
traced_ops.vmread = traced_vmread
traced_ops.vmwrite = traced_vmwrite
traced_ops.vmentry = traced_vmentry
traced_ops.invept = traced_invept
traced_ops.invvpid = traced_invvpid
traced_ops.vmcall = traced_vmcall


# Keep a record of each instruction of L1, the last size of them; False without memory.
cdef bint trace_start(l0_vp *vp, u64 size) noexcept nogil:
    cdef l0_trace_record *record = <l0_trace_record *>calloc(size, sizeof(l0_trace_record))

    if record == NULL:
        return False
    trace_stop(vp)
    free(vp.trace.record)
    vp.trace.record = record
    vp.trace.size = size
    vp.trace.end = 0
    vp.trace.ops = vp.cpu.ops
    vp.cpu.ops = &traced_ops
    return True


# The ring stays: an instruction may be under way on another thread.
cdef void trace_stop(l0_vp *vp) noexcept nogil:
    if vp.cpu.ops == &traced_ops:
        vp.cpu.ops = vp.trace.ops
