# SPDX-License-Identifier: GPL-2.0-only
# RDMSR and WRMSR: the architectural MSRs; those of Hyper-V are in synthetic_msr.

cdef enum:
    EFER_SCE = 1 << 0
    EFER_LME = 1 << 8
    EFER_LMA = 1 << 10
    EFER_NX = 1 << 11
    EFER_VALID = 0xd01
    DEBUGCTL_VALID = 0xdfc3
    FEATURE_CONTROL_LOCKED = 1
    FEATURE_CONTROL_VMXON_OUTSIDE_SMX = 4

cdef enum:
    MSR_TSC = 0x10
    MSR_APIC_BASE = 0x1b
    MSR_FEATURE_CONTROL = 0x3a
    MSR_TSC_ADJUST = 0x3b
    MSR_SPEC_CTRL = 0x48
    MSR_PRED_CMD = 0x49
    MSR_BIOS_SIGN_ID = 0x8b
    MSR_SYSENTER_CS = 0x174
    MSR_MCG_STATUS = 0x17a
    MSR_SYSENTER_ESP = 0x175
    MSR_SYSENTER_EIP = 0x176
    MSR_MISC_ENABLE = 0x1a0
    MSR_DEBUGCTL = 0x1d9
    MSR_FLUSH_CMD = 0x10b
    MSR_PAT = 0x277
    MSR_MTRR_DEF_TYPE = 0x2ff
    MSR_PERF_GLOBAL_CTRL = 0x38f
    MSR_VMX_FIRST = 0x480
    MSR_VMX_LAST = 0x491

cdef extern from *:
    """
    #define MSR_EFER 0xc0000080u
    #define MSR_STAR 0xc0000081u
    #define MSR_LSTAR 0xc0000082u
    #define MSR_CSTAR 0xc0000083u
    #define MSR_SYSCALL_MASK 0xc0000084u
    #define MSR_FS_BASE 0xc0000100u
    #define MSR_GS_BASE 0xc0000101u
    #define MSR_KERNEL_GS_BASE 0xc0000102u
    #define MSR_TSC_AUX 0xc0000103u
    """
    const u32 MSR_EFER
    const u32 MSR_STAR
    const u32 MSR_LSTAR
    const u32 MSR_CSTAR
    const u32 MSR_SYSCALL_MASK
    const u32 MSR_FS_BASE
    const u32 MSR_GS_BASE
    const u32 MSR_KERNEL_GS_BASE
    const u32 MSR_TSC_AUX


cdef void keep(l0_vp *vp, u32 slot, u32 msr, u64 value) noexcept nogil:
    vp.msr[slot].index = msr
    vp.msr[slot].value = value


# The values after reset that an operating system finds; the profile may name others.
cdef void msr_init(l0_vp *vp) noexcept nogil:
    cdef l0_profile *profile = &vp.partition.profile
    cdef u32 i, slot

    keep(vp, SLOT_FEATURE_CONTROL, MSR_FEATURE_CONTROL, 0)
    keep(vp, SLOT_PAT, MSR_PAT, 0x0007040600070406)
    keep(vp, SLOT_DEBUGCTL, MSR_DEBUGCTL, 0)
    keep(vp, SLOT_PERF_GLOBAL_CTRL, MSR_PERF_GLOBAL_CTRL, 0)
    keep(vp, SLOT_SYSENTER_CS, MSR_SYSENTER_CS, 0)
    keep(vp, SLOT_SYSENTER_ESP, MSR_SYSENTER_ESP, 0)
    keep(vp, SLOT_SYSENTER_EIP, MSR_SYSENTER_EIP, 0)
    keep(vp, SLOT_STAR, MSR_STAR, 0)
    keep(vp, SLOT_LSTAR, MSR_LSTAR, 0)
    keep(vp, SLOT_CSTAR, MSR_CSTAR, 0)
    keep(vp, SLOT_SYSCALL_MASK, MSR_SYSCALL_MASK, 0)
    keep(vp, SLOT_FS_BASE, MSR_FS_BASE, 0)
    keep(vp, SLOT_GS_BASE, MSR_GS_BASE, 0)
    keep(vp, SLOT_KERNEL_GS_BASE, MSR_KERNEL_GS_BASE, 0)
    keep(vp, SLOT_TSC_AUX, MSR_TSC_AUX, vp.cpu.index)
    keep(vp, SLOT_TSC_ADJUST, MSR_TSC_ADJUST, 0)
    keep(vp, SLOT_SPEC_CTRL, MSR_SPEC_CTRL, 0)
    keep(vp, SLOT_MISC_ENABLE, MSR_MISC_ENABLE, 1)
    keep(vp, SLOT_APIC_BASE, MSR_APIC_BASE,
         <u64>0xfee00800 | (<u64>0x100 if vp.cpu.index == 0 else <u64>0))
    keep(vp, SLOT_MCG_STATUS, MSR_MCG_STATUS, 0)
    keep(vp, SLOT_MTRR_DEF_TYPE, MSR_MTRR_DEF_TYPE, 0)
    vp.nr_msr = NR_SLOTS
    for i in range(profile.nr_msrs):
        for slot in range(vp.nr_msr):
            if vp.msr[slot].index == profile.msr[i].index:
                vp.msr[slot].value = profile.msr[i].value


cdef bint pat_valid(u64 pat) noexcept nogil:
    # types 0, 1, 4..7: no bit above 2, and 2 and 3 do not exist
    return not (pat & <u64>0xf8f8f8f8f8f8f8f8 or pat >> 1 & ~(pat >> 2) & <u64>0x0101010101010101)


# Where an MSR lives that the VMCS holds while L2 runs; NULL: with the others.
cdef u64 *guest_place(l0_vp *vp, u32 msr) noexcept nogil:
    if msr == MSR_EFER:
        return &vp.efer
    if vp.guest_state == L2_NOT_RUNNING:
        return NULL
    if msr == MSR_FS_BASE:
        return &vp.vmcs.f.guest_fs_base
    if msr == MSR_GS_BASE:
        return &vp.vmcs.f.guest_gs_base
    if msr == MSR_SYSENTER_ESP:
        return &vp.vmcs.f.guest_sysenter_esp
    if msr == MSR_SYSENTER_EIP:
        return &vp.vmcs.f.guest_sysenter_eip
    return NULL


cdef l0_msr_value *find_msr(l0_msr_value *table, u32 entries, u32 msr) noexcept nogil:
    cdef u32 i
    for i in range(entries):
        if table[i].index == msr:
            return &table[i]
    return NULL


cdef insn_t msr_read(l0_vp *vp, u32 msr, u64 *value) noexcept nogil:
    cdef u64 *place
    cdef l0_msr_value *entry

    if msr >> 28 == 4:
        return synthetic_read(vp, msr, value)
    if is_apic_msr(vp, msr):
        return apic_msr_read(vp, msr, value)
    if msr == MSR_TSC:
        value[0] = clock_tsc(vp.partition) + vp.msr[SLOT_TSC_ADJUST].value
        return INSN_OK
    if vp.guest_state != L2_NOT_RUNNING and msr == MSR_SYSENTER_CS:
        value[0] = vp.vmcs.f.guest_sysenter_cs
        return INSN_OK
    place = guest_place(vp, msr)
    if place != NULL:
        value[0] = place[0]
        return INSN_OK
    entry = find_msr(vp.msr, vp.nr_msr, msr)
    if entry == NULL:
        entry = find_msr(vp.partition.profile.msr, vp.partition.profile.nr_msrs, msr)
    if entry == NULL:
        return fault_gp()
    value[0] = entry.value
    return INSN_OK


cdef bint must_be_canonical(u32 msr) noexcept nogil:
    return (msr == MSR_FS_BASE or msr == MSR_GS_BASE or msr == MSR_KERNEL_GS_BASE or
            msr == MSR_LSTAR or msr == MSR_CSTAR or
            msr == MSR_SYSENTER_ESP or msr == MSR_SYSENTER_EIP)


# May an MSR of the table take this value?
cdef bint value_valid(l0_vp *vp, u32 msr, u64 value) noexcept nogil:
    if must_be_canonical(msr):
        return is_canonical(value)
    if msr == MSR_FEATURE_CONTROL:
        return (not vp.msr[SLOT_FEATURE_CONTROL].value & 1) and not value & ~<u64>0x7
    if msr == MSR_PAT:
        return pat_valid(value)
    if msr == MSR_PERF_GLOBAL_CTRL:
        return vp.partition.caps.perf_global_may and not value & ~vp.partition.caps.perf_global_may
    if msr == MSR_DEBUGCTL:
        return not value & ~<u64>0xdfc3
    if msr == MSR_SPEC_CTRL:
        return not value & ~<u64>7
    if msr == MSR_TSC_AUX or msr == MSR_SYSCALL_MASK:
        return value >> 32 == 0
    if msr == MSR_APIC_BASE:
        return apic_base_valid(vp, value)
    if msr == MSR_MCG_STATUS:
        return not value & ~<u64>0xf
    if msr == MSR_MTRR_DEF_TYPE:
        return not value & ~<u64>0xc07 and value & 7 != 7 and pat_valid(value & 7)
    return True


cdef insn_t write_efer(l0_vp *vp, u64 value) noexcept nogil:
    cdef u64 cr0 = vp.vmcs.f.guest_cr0 if vp.guest_state != L2_NOT_RUNNING else vp.cpu.cr0

    if value & ~<u64>EFER_VALID:
        return fault_gp()
    if cr0 >> 31 & 1 and (value ^ vp.efer) & EFER_LME:
        return fault_gp()
    vp.efer = value & ~<u64>EFER_LMA | vp.efer & EFER_LMA
    if vp.guest_state == L2_NOT_RUNNING:
        # the host-state checks compare with LMA
        vp.groups_to_check |= 1 << 14
    return INSN_OK


cdef insn_t msr_write(l0_vp *vp, u32 msr, u64 value) noexcept nogil:
    cdef u64 *place
    cdef l0_msr_value *entry

    if msr >> 28 == 4:
        return synthetic_write(vp, msr, value)
    if msr == MSR_EFER:
        return write_efer(vp, value)
    if is_apic_msr(vp, msr):
        return apic_msr_write(vp, msr, value)
    if msr == MSR_PRED_CMD or msr == MSR_FLUSH_CMD:
        return fault_gp() if value & ~<u64>1 else INSN_OK
    if msr == MSR_BIOS_SIGN_ID:
        return INSN_OK
    if msr == MSR_TSC:
        vp.msr[SLOT_TSC_ADJUST].value = value - clock_tsc(vp.partition)
        return INSN_OK
    entry = find_msr(vp.msr, vp.nr_msr, msr)
    if entry == NULL or not value_valid(vp, msr, value):
        return fault_gp()
    if vp.guest_state != L2_NOT_RUNNING and msr == MSR_SYSENTER_CS:
        vp.vmcs.f.guest_sysenter_cs = <u32>value
        return INSN_OK
    place = guest_place(vp, msr)
    if place != NULL:
        place[0] = value
    else:
        entry.value = value
        vp.host_loaded = 0
    return INSN_OK


# RDMSR and WRMSR of whoever runs: while L2 does, its segment bases, SYSENTER MSRs and EFER.
cdef insn_t l0_rdmsr(virt_cpu *cpu, u32 msr, u64 *value) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu

    vp.counters.rdmsr += 1
    if cpu.cpl:
        return fault_gp()
    return msr_read(vp, msr, value)


cdef insn_t l0_wrmsr(virt_cpu *cpu, u32 msr, u64 value) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu

    vp.counters.wrmsr += 1
    if cpu.cpl:
        return fault_gp()
    return msr_write(vp, msr, value)
