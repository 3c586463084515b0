# SPDX-License-Identifier: GPL-2.0-only
# RDMSR, WRMSR, RDTSC and RDPMC of L2, and the task priority in the virtual-APIC page.

cdef extern from *:
    """
    #define multiply_shift(a, b, shift) ((u64)((unsigned __int128)(a) * (b) >> (shift)))
    """
    u64 multiply_shift(u64 a, u64 b, int shift) nogil

# SDM 26.5.3: L2's TSC is L1's, times the multiplier where that is on, and the offset.
cdef inline u64 scaled_tsc(const l0_vp *vp, u64 tsc) noexcept nogil:
    if not vp.vmcs.f.cpu_based_vm_exec_control & CPU_BASED_USE_TSC_OFFSETING:
        return tsc
    if secondary_controls(vp.vmcs) & SECONDARY_EXEC_TSC_SCALING:
        tsc = multiply_shift(tsc, vp.vmcs.tsc_multiplier, 48)
    return tsc + vp.vmcs.f.tsc_offset


# The task priority: the virtual-APIC page's, where there is one.
cdef u64 read_priority(l0_vp *vp) noexcept nogil:
    cdef const u32 *word = priority_word(vp)

    return vp.cpu.cr8 << 4 if word == NULL else word[0] & 0xff


cdef int write_priority(l0_vp *vp, u64 value) noexcept nogil:
    cdef u32 *word = priority_word(vp)

    if word == NULL:
        if vp.root.on:
            set_task_priority(vp, <u32>value)
        vp.cpu.cr8 = value >> 4 & 15
    else:
        word[0] = value & 0xff
        note_written(vp, VIRTUAL_TPR, 4)
    return L2_DONE


cdef void answer(l0_vp *vp, u64 value) noexcept nogil:
    vp.regs[GPR_RAX] = value & <u64>0xffffffff
    vp.regs[GPR_RDX] = value >> 32


# At a privilege level of L2 other than 0.
cdef int refuse_level(l0_vp *vp, u32 check, u64 value, u32 msr) noexcept nogil:
    note_denial(vp, check, value, msr, vp.guest_cpl)
    return fault(vp, X86_TRAP_GP, 0)


cdef int rdmsr_insn(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 msr = <u32>vp.regs[GPR_RCX]
    cdef u64 value = 0

    if vp.guest_cpl:
        return refuse_level(vp, CHECK_rdmsr_privilege, vp.guest_cpl, msr)
    if msr_exits(vp, msr, False):
        return leave_insn(vp, EXIT_REASON_MSR_READ, insn, 0)
    if is_virtual_read(vp, msr):
        value = read_virtual_msr(vp, msr)
    elif msr_read(vp, msr, &value) != INSN_OK:
        return fault(vp, X86_TRAP_GP, 0)
    if msr == MSR_IA32_TSC:
        value = scaled_tsc(vp, value)
    answer(vp, value)
    return L2_DONE


cdef int wrmsr_insn(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u32 msr = <u32>vp.regs[GPR_RCX]
    cdef u64 value = vp.regs[GPR_RDX] << 32 | vp.regs[GPR_RAX] & <u64>0xffffffff

    if vp.guest_cpl:
        return refuse_level(vp, CHECK_wrmsr_privilege, value, msr)
    if msr_exits(vp, msr, True):
        return leave_insn(vp, EXIT_REASON_MSR_WRITE, insn, 0)
    if is_virtual_write(vp, msr):
        if value >> (0 if msr == MSR_X2APIC_END else 8):
            return fault(vp, X86_TRAP_GP, 0)
        write_virtual_msr(vp, (msr & 0xff) << 4, value)
        return L2_DONE
    if msr_write(vp, msr, value) != INSN_OK:
        return fault(vp, X86_TRAP_GP, 0)
    # EFER may have changed how pages translate
    translations_current(vp)
    return L2_DONE


cdef int rdtsc_insn(l0_vp *vp, const l2_insn *insn, bint with_aux) noexcept nogil:
    cdef u64 value = 0

    if with_aux and not secondary_controls(vp.vmcs) & SECONDARY_EXEC_RDTSCP:
        return fault(vp, X86_TRAP_UD, 0)
    if vp.guest_cpl and vp.vmcs.f.guest_cr4 & X86_CR4_TSD:
        return fault(vp, X86_TRAP_GP, 0)
    if vp.vmcs.f.cpu_based_vm_exec_control & CPU_BASED_RDTSC_EXITING:
        return leave_insn(vp, EXIT_REASON_RDTSCP if with_aux else EXIT_REASON_RDTSC, insn, 0)
    msr_read(vp, MSR_IA32_TSC, &value)
    answer(vp, scaled_tsc(vp, value))
    if with_aux:
        vp.regs[GPR_RCX] = vp.msr[SLOT_TSC_AUX].value & <u64>0xffffffff
    return L2_DONE


cdef int rdpmc_insn(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    if vp.guest_cpl and not vp.vmcs.f.guest_cr4 & X86_CR4_PCE:
        return fault(vp, X86_TRAP_GP, 0)
    if vp.vmcs.f.cpu_based_vm_exec_control & CPU_BASED_RDPMC_EXITING:
        return leave_insn(vp, EXIT_REASON_RDPMC, insn, 0)
    # there are no counters to read
    return fault(vp, X86_TRAP_GP, 0)
