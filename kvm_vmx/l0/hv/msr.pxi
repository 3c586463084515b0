# SPDX-License-Identifier: GPL-2.0-only
# RDMSR and WRMSR: the architectural MSRs; those of Hyper-V are in synthetic_msr.

cdef enum:
    EFER_VALID = EFER_SCE | EFER_LME | EFER_LMA | EFER_NX
    DEBUGCTL_VALID = 0xdfc3
    REGISTER_EDX = 3
    EDX_FLUSH_L1D = 28


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
    if is_apic_msr(vp, msr):
        return apic_msr_read(vp, msr, value)
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
        return deny(vp, CHECK_rdmsr_missing, 0, msr, 0)
    value[0] = entry.value
    return INSN_OK


cdef bint must_be_canonical(u32 msr) noexcept nogil:
    return (msr == MSR_FS_BASE or msr == MSR_GS_BASE or msr == MSR_KERNEL_GS_BASE or
            msr == MSR_LSTAR or msr == MSR_CSTAR or
            msr == MSR_IA32_SYSENTER_ESP or msr == MSR_IA32_SYSENTER_EIP)


# The row with the bits of an MSR of the table, where these are all there is to say of it, or 0.
cdef u32 bits_of_msr(u32 msr) noexcept nogil:
    if msr == MSR_IA32_FEATURE_CONTROL:
        return CHECK_feature_control_bits
    if msr == MSR_IA32_DEBUGCTLMSR:
        return CHECK_msr_debugctl
    if msr == MSR_IA32_SPEC_CTRL:
        return CHECK_msr_spec_ctrl
    if msr == MSR_TSC_AUX or msr == MSR_SYSCALL_MASK:
        return CHECK_msr_32_bits
    if msr == MSR_IA32_MCG_STATUS:
        return CHECK_msr_mcg_status
    return CHECK_msr_mtrr_default if msr == MSR_MTRRdefType else 0


# May an MSR of the table take this value? The check that says no, or 0.
cdef u32 msr_value_refusal(l0_vp *vp, u32 msr, u64 value) noexcept nogil:
    cdef const l0_caps *caps = &vp.partition.caps
    cdef u32 bits = bits_of_msr(msr)

    if must_be_canonical(msr):
        return 0 if is_canonical(value) else CHECK_msr_canonical
    if msr == MSR_IA32_FEATURE_CONTROL and vp.msr[SLOT_FEATURE_CONTROL].value & 1:
        return CHECK_feature_control_locked
    if bits and breaks(bits, value):
        return bits
    if msr == MSR_IA32_CR_PAT:
        return 0 if pat_valid(value) else CHECK_msr_pat
    if msr == MSR_CORE_PERF_GLOBAL_CTRL:
        if not caps.perf_global_may:
            return CHECK_msr_no_counters
        return CHECK_msr_perf_global if value & ~caps.perf_global_may else 0
    if msr == MSR_IA32_APICBASE:
        return 0 if apic_base_valid(vp, value) else CHECK_msr_apic_base
    if msr == MSR_MTRRdefType:
        return 0 if value & 7 != 7 and pat_valid(value & 7) else CHECK_msr_mtrr_type
    return 0


cdef insn_t write_efer(l0_vp *vp, u64 value) noexcept nogil:
    cdef u64 cr0 = vp.vmcs.f.guest_cr0 if vp.guest_state != L2_NOT_RUNNING else vp.cpu.cr0

    if breaks(CHECK_msr_efer, value):
        return deny(vp, CHECK_msr_efer, value, MSR_EFER, 0)
    if cr0 >> 31 & 1 and (value ^ vp.efer) & EFER_LME:
        return deny(vp, CHECK_msr_efer_paging, value, MSR_EFER, vp.efer)
    vp.efer = value & ~<u64>EFER_LMA | vp.efer & EFER_LMA
    if vp.guest_state == L2_NOT_RUNNING:
        # the host-state checks compare with LMA
        vp.groups_to_check |= 1 << 14
    return INSN_OK


cdef insn_t msr_write(l0_vp *vp, u32 msr, u64 value) noexcept nogil:
    cdef u64 *place
    cdef l0_msr_value *entry
    cdef u32 why

    if msr >> 28 == 4:
        return synthetic_write(vp, msr, value)
    if msr == MSR_EFER:
        return write_efer(vp, value)
    if is_apic_msr(vp, msr):
        return apic_msr_write(vp, msr, value)
    if msr == MSR_IA32_FLUSH_CMD and not cpuid_offers(vp, 7, REGISTER_EDX, EDX_FLUSH_L1D):
        return deny(vp, CHECK_wrmsr_missing, value, msr, 0)
    if msr == MSR_IA32_PRED_CMD or msr == MSR_IA32_FLUSH_CMD:
        return deny(vp, CHECK_msr_command, value, msr, 0) \
            if breaks(CHECK_msr_command, value) else INSN_OK
    if msr == MSR_IA32_UCODE_REV:
        return INSN_OK
    if msr == MSR_IA32_TSC:
        vp.msr[SLOT_TSC_ADJUST].value = value - clock_tsc(vp.partition)
        return INSN_OK
    entry = find_msr(vp.msr, vp.nr_msr, msr)
    if entry == NULL:
        entry = find_msr(vp.partition.profile.msr, vp.partition.profile.nr_msrs, msr)
        return deny(vp, CHECK_wrmsr_missing if entry == NULL else CHECK_wrmsr_read_only,
                    value, msr, 0)
    why = msr_value_refusal(vp, msr, value)
    if why:
        return deny(vp, why, value, msr, vp.msr[SLOT_FEATURE_CONTROL].value)
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
        return deny(vp, CHECK_rdmsr_privilege, cpu.cpl, msr, 0)
    return msr_read(vp, msr, value)


cdef insn_t l0_wrmsr(virt_cpu *cpu, u32 msr, u64 value) noexcept nogil:
    cdef l0_vp *vp = <l0_vp *>cpu

    vp.counters.wrmsr += 1
    if cpu.cpl:
        return deny(vp, CHECK_wrmsr_privilege, value, msr, cpu.cpl)
    return msr_write(vp, msr, value)
