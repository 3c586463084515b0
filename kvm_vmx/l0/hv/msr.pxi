# SPDX-License-Identifier: GPL-2.0-only
# RDMSR and WRMSR: the architectural MSRs; those of Hyper-V are in synthetic_msr.

cdef enum:
    EFER_VALID = EFER_SCE | EFER_LME | EFER_LMA | EFER_NX
    DEBUGCTL_VALID = 0xdfc3


cdef void keep(l0_vp *vp, u32 slot, u32 msr, u64 value) noexcept nogil:
    vp.msr[slot].index = msr
    vp.msr[slot].value = value


# The values after reset that an operating system finds; the profile may name others.
cdef void msr_init(l0_vp *vp) noexcept nogil:
    cdef l0_profile *profile = &vp.partition.profile
    cdef u32 i, slot

    keep(vp, SLOT_FEATURE_CONTROL, MSR_IA32_FEATURE_CONTROL, 0)
    keep(vp, SLOT_PAT, MSR_IA32_CR_PAT, 0x0007040600070406)
    keep(vp, SLOT_DEBUGCTL, MSR_IA32_DEBUGCTLMSR, 0)
    keep(vp, SLOT_PERF_GLOBAL_CTRL, MSR_CORE_PERF_GLOBAL_CTRL, 0)
    keep(vp, SLOT_SYSENTER_CS, MSR_IA32_SYSENTER_CS, 0)
    keep(vp, SLOT_SYSENTER_ESP, MSR_IA32_SYSENTER_ESP, 0)
    keep(vp, SLOT_SYSENTER_EIP, MSR_IA32_SYSENTER_EIP, 0)
    keep(vp, SLOT_STAR, MSR_STAR, 0)
    keep(vp, SLOT_LSTAR, MSR_LSTAR, 0)
    keep(vp, SLOT_CSTAR, MSR_CSTAR, 0)
    keep(vp, SLOT_SYSCALL_MASK, MSR_SYSCALL_MASK, 0)
    keep(vp, SLOT_FS_BASE, MSR_FS_BASE, 0)
    keep(vp, SLOT_GS_BASE, MSR_GS_BASE, 0)
    keep(vp, SLOT_KERNEL_GS_BASE, MSR_KERNEL_GS_BASE, 0)
    keep(vp, SLOT_TSC_AUX, MSR_TSC_AUX, vp.cpu.index)
    keep(vp, SLOT_TSC_ADJUST, MSR_IA32_TSC_ADJUST, 0)
    keep(vp, SLOT_SPEC_CTRL, MSR_IA32_SPEC_CTRL, 0)
    keep(vp, SLOT_MISC_ENABLE, MSR_IA32_MISC_ENABLE, 1)
    keep(vp, SLOT_APIC_BASE, MSR_IA32_APICBASE,
         <u64>0xfee00800 | (<u64>0x100 if vp.cpu.index == 0 else <u64>0))
    keep(vp, SLOT_MCG_STATUS, MSR_IA32_MCG_STATUS, 0)
    keep(vp, SLOT_MTRR_DEF_TYPE, MSR_MTRRdefType, 0)
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
    if msr == MSR_IA32_SYSENTER_ESP:
        return &vp.vmcs.f.guest_sysenter_esp
    if msr == MSR_IA32_SYSENTER_EIP:
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
    if msr == MSR_IA32_TSC:
        value[0] = clock_tsc(vp.partition) + vp.msr[SLOT_TSC_ADJUST].value
        return INSN_OK
    if vp.guest_state != L2_NOT_RUNNING and msr == MSR_IA32_SYSENTER_CS:
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
            msr == MSR_IA32_SYSENTER_ESP or msr == MSR_IA32_SYSENTER_EIP)


# May an MSR of the table take this value?
cdef bint value_valid(l0_vp *vp, u32 msr, u64 value) noexcept nogil:
    if must_be_canonical(msr):
        return is_canonical(value)
    if msr == MSR_IA32_FEATURE_CONTROL:
        return (not vp.msr[SLOT_FEATURE_CONTROL].value & 1) and not value & ~<u64>0x7
    if msr == MSR_IA32_CR_PAT:
        return pat_valid(value)
    if msr == MSR_CORE_PERF_GLOBAL_CTRL:
        return vp.partition.caps.perf_global_may and not value & ~vp.partition.caps.perf_global_may
    if msr == MSR_IA32_DEBUGCTLMSR:
        return not value & ~<u64>0xdfc3
    if msr == MSR_IA32_SPEC_CTRL:
        return not value & ~<u64>7
    if msr == MSR_TSC_AUX or msr == MSR_SYSCALL_MASK:
        return value >> 32 == 0
    if msr == MSR_IA32_APICBASE:
        # no x2APIC, so that bit 10 is reserved
        return not value & (vp.partition.caps.address_reserved | 0x6ff)
    if msr == MSR_IA32_MCG_STATUS:
        return not value & ~<u64>0xf
    if msr == MSR_MTRRdefType:
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
    if msr == MSR_IA32_PRED_CMD or msr == MSR_IA32_FLUSH_CMD:
        return fault_gp() if value & ~<u64>1 else INSN_OK
    if msr == MSR_IA32_UCODE_REV:
        return INSN_OK
    if msr == MSR_IA32_TSC:
        vp.msr[SLOT_TSC_ADJUST].value = value - clock_tsc(vp.partition)
        return INSN_OK
    entry = find_msr(vp.msr, vp.nr_msr, msr)
    if entry == NULL or not value_valid(vp, msr, value):
        return fault_gp()
    if vp.guest_state != L2_NOT_RUNNING and msr == MSR_IA32_SYSENTER_CS:
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
