# SPDX-License-Identifier: GPL-2.0-only
# The MSRs that Hyper-V invents, 0x40000000 and up.

cdef enum:
    HYPERCALL_LOCKED = 2
    APIC_HZ = 1000000000

    MSR_GUEST_IDLE = 0x400000f0
    MSR_CRASH_P0 = 0x40000100
    MSR_CRASH_P4 = 0x40000104
    MSR_CRASH_CTL = 0x40000105
    MSR_TSC_INVARIANT = 0x40000118

    # bits of leaf 0x40000003 that v4.19 does not know: EAX, and EDX for the crash MSRs
    GUEST_IDLE_AVAILABLE = 1 << 10
    CRASH_AVAILABLE = 1 << 10

cdef u64 CRASH_NOTIFY = <u64>1 << 63


# The bits of leaf 0x40000003, EDX above EAX, that announce an MSR; 0: there is no such MSR.
cdef u64 announced_by(u32 msr) noexcept nogil:
    if msr == HV_X64_MSR_GUEST_OS_ID or msr == HV_X64_MSR_HYPERCALL:
        return HV_X64_MSR_HYPERCALL_AVAILABLE
    if msr == HV_X64_MSR_VP_INDEX:
        return HV_X64_MSR_VP_INDEX_AVAILABLE
    if msr == HV_X64_MSR_VP_RUNTIME:
        return HV_X64_MSR_VP_RUNTIME_AVAILABLE
    if msr == HV_X64_MSR_TIME_REF_COUNT:
        return HV_MSR_TIME_REF_COUNT_AVAILABLE
    if msr == HV_X64_MSR_REFERENCE_TSC:
        return HV_MSR_REFERENCE_TSC_AVAILABLE
    if msr == HV_X64_MSR_TSC_FREQUENCY or msr == HV_X64_MSR_APIC_FREQUENCY:
        return HV_X64_ACCESS_FREQUENCY_MSRS
    if HV_X64_MSR_EOI <= msr <= HV_X64_MSR_VP_ASSIST_PAGE:
        return HV_X64_MSR_APIC_ACCESS_AVAILABLE
    if synic_has(msr):
        return HV_X64_MSR_SYNIC_AVAILABLE
    if stimer_has(msr):
        return HV_MSR_SYNTIMER_AVAILABLE
    if msr == HV_X64_MSR_RESET:
        return HV_X64_MSR_RESET_AVAILABLE
    if msr == MSR_GUEST_IDLE:
        return GUEST_IDLE_AVAILABLE
    if msr == MSR_TSC_INVARIANT:
        return TSC_INVARIANT_AVAILABLE
    if MSR_CRASH_P0 <= msr <= MSR_CRASH_CTL:
        return <u64>CRASH_AVAILABLE << 32
    if HV_X64_MSR_REENLIGHTENMENT_CONTROL <= msr <= HV_X64_MSR_TSC_EMULATION_STATUS:
        return HV_X64_ACCESS_REENLIGHTENMENT
    return 0


cdef bint present(l0_vp *vp, u32 msr) noexcept nogil:
    cdef const l0_caps *caps = &vp.partition.caps
    cdef u64 bits = announced_by(msr)

    if bits == 0:
        return False
    # R70: the trio is there with its privilege alone, whatever the profile does for the others;
    # and so is what the open Hyper-V has not at all
    if not vp.partition.profile.enforce_cpuid and bits != HV_X64_ACCESS_REENLIGHTENMENT and \
            bits != GUEST_IDLE_AVAILABLE:
        return True
    return (caps.features | <u64>caps.features_edx << 32) & bits == bits


# The MSRs by which L1 tells of its end: five words, and what L0 does with them.
cdef u64 read_crash(const l0_partition *partition, u32 msr) noexcept nogil:
    return CRASH_NOTIFY if msr == MSR_CRASH_CTL else partition.crash[msr - MSR_CRASH_P0]


cdef insn_t write_crash(l0_partition *partition, u32 msr, u64 value) noexcept nogil:
    if msr != MSR_CRASH_CTL:
        partition.crash[msr - MSR_CRASH_P0] = value
    elif value & CRASH_NOTIFY:
        partition.crashes += 1
    return INSN_OK


# Once L1 has asked for it, CPUID says that the TSC is invariant; nothing takes that back.
cdef insn_t write_invariant(l0_vp *vp, u64 value) noexcept nogil:
    if breaks(CHECK_invariant_bits, value):
        return deny(vp, CHECK_invariant_bits, value, MSR_TSC_INVARIANT, 0)
    if vp.partition.invariant_tsc and not value:
        return deny(vp, CHECK_invariant_stays, value, MSR_TSC_INVARIANT, 0)
    vp.partition.invariant_tsc = value
    return INSN_OK


cdef insn_t synthetic_read(l0_vp *vp, u32 msr, u64 *value) noexcept nogil:
    cdef l0_partition *partition = vp.partition

    if not present(vp, msr):
        return deny(vp, CHECK_rdmsr_unannounced if announced_by(msr) else CHECK_rdmsr_missing,
                    0, msr, announced_by(msr))
    if msr == HV_X64_MSR_GUEST_OS_ID:
        value[0] = partition.guest_os_id
    elif msr == HV_X64_MSR_HYPERCALL:
        value[0] = partition.hypercall_msr
    elif msr == HV_X64_MSR_VP_INDEX:
        value[0] = vp.cpu.index
    elif msr == HV_X64_MSR_VP_ASSIST_PAGE:
        value[0] = vp.assist_msr
    elif msr == HV_X64_MSR_REFERENCE_TSC:
        value[0] = partition.clock.reference_msr
    elif msr == HV_X64_MSR_TSC_FREQUENCY:
        value[0] = clock_tsc_frequency(partition)
    elif msr == HV_X64_MSR_APIC_FREQUENCY:
        value[0] = APIC_HZ
    elif msr == HV_X64_MSR_REENLIGHTENMENT_CONTROL:
        value[0] = partition.clock.reenlightenment
    elif msr == HV_X64_MSR_TSC_EMULATION_CONTROL:
        value[0] = partition.clock.emulation_control
    elif msr == HV_X64_MSR_TSC_EMULATION_STATUS:
        value[0] = partition.clock.emulation_status
    elif synic_has(msr):
        return synic_read(vp, msr, value)
    elif stimer_has(msr):
        return stimer_read(vp, msr, value)
    elif MSR_CRASH_P0 <= msr <= MSR_CRASH_CTL:
        value[0] = read_crash(partition, msr)
    elif msr == MSR_TSC_INVARIANT:
        value[0] = partition.invariant_tsc
    elif msr == HV_X64_MSR_RESET or msr == MSR_GUEST_IDLE:
        # a processor that idles is woken at once
        value[0] = 0
    else:
        # VP_RUNTIME and TIME_REF_COUNT: a processor always runs
        value[0] = clock_reference_time(partition)
    return INSN_OK


# R19: the frame must exist; only the first word is cleared. The other bits are kept as written.
cdef insn_t write_assist_page(l0_vp *vp, u64 value) noexcept nogil:
    cdef bint overlay = vp.partition.profile.assist_overlay
    cdef u8 *old = NULL
    cdef u8 *page = NULL

    if value & HV_X64_MSR_VP_ASSIST_PAGE_ENABLE:
        page = phys_page(vp.cpu.mem, value)
        if page == NULL:
            return deny(vp, CHECK_assist_frame, value, HV_X64_MSR_VP_ASSIST_PAGE, 0)
        if vp.had_assist_page and vp.partition.profile.loses_assist_page and \
                not vp.assist_msr & HV_X64_MSR_VP_ASSIST_PAGE_ENABLE:
            return INSN_OK
        vp.had_assist_page = 1
    if overlay and vp.assist_msr & HV_X64_MSR_VP_ASSIST_PAGE_ENABLE:
        old = phys_page(vp.cpu.mem, vp.assist_msr)
        if old != NULL and old != page:
            memcpy(old, vp.overlaid, 4096)
    if page != NULL:
        if overlay and old != page:
            memcpy(vp.overlaid, page, 4096)
            memset(page, 0, 4096)
        (<u32 *>page)[0] = 0
    vp.row_kept = 0
    vp.assist_msr = value
    return INSN_OK


# R93: no hypercall page without an identity, none outside memory, none once it is locked.
cdef insn_t write_hypercall(l0_vp *vp, u64 value) noexcept nogil:
    cdef l0_partition *partition = vp.partition
    cdef u8 *page

    if partition.hypercall_msr & HYPERCALL_LOCKED:
        return deny(vp, CHECK_hypercall_locked, value, HV_X64_MSR_HYPERCALL,
                    partition.hypercall_msr)
    if partition.guest_os_id == 0:
        return INSN_OK
    if value & HV_X64_MSR_HYPERCALL_ENABLE:
        page = phys_page(vp.cpu.mem, value)
        if page == NULL:
            return deny(vp, CHECK_hypercall_frame, value, HV_X64_MSR_HYPERCALL, 0)
        # vmcall; ret
        page[0] = 0x0f
        page[1] = 0x01
        page[2] = 0xc1
        page[3] = 0xc3
    partition.hypercall_msr = value
    return INSN_OK


cdef insn_t synthetic_write(l0_vp *vp, u32 msr, u64 value) noexcept nogil:
    if not present(vp, msr):
        return deny(vp, CHECK_wrmsr_unannounced if announced_by(msr) else CHECK_wrmsr_missing,
                    value, msr, announced_by(msr))
    if msr == HV_X64_MSR_VP_ASSIST_PAGE:
        return write_assist_page(vp, value)
    if msr == HV_X64_MSR_HYPERCALL:
        return write_hypercall(vp, value)
    if msr == HV_X64_MSR_GUEST_OS_ID:
        vp.partition.guest_os_id = value
        if value == 0:
            vp.partition.hypercall_msr &= ~<u64>HV_X64_MSR_HYPERCALL_ENABLE
        return INSN_OK
    if msr == HV_X64_MSR_REFERENCE_TSC:
        return clock_write_reference_page(vp, value)
    if msr == HV_X64_MSR_REENLIGHTENMENT_CONTROL:
        return clock_write_reenlightenment(vp, value)
    if msr == HV_X64_MSR_TSC_EMULATION_CONTROL:
        return clock_write_emulation_control(vp, value)
    if msr == HV_X64_MSR_TSC_EMULATION_STATUS:
        return clock_write_emulation_status(vp, value)
    if synic_has(msr):
        return synic_write(vp, msr, value)
    if stimer_has(msr):
        return stimer_write(vp, msr, value)
    if MSR_CRASH_P0 <= msr <= MSR_CRASH_CTL:
        return write_crash(vp.partition, msr, value)
    if msr == MSR_TSC_INVARIANT:
        return write_invariant(vp, value)
    if msr == HV_X64_MSR_RESET:
        vp.partition.resets += value == 1
        return INSN_OK
    return deny(vp, CHECK_wrmsr_read_only, value, msr, 0)
