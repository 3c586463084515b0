# SPDX-License-Identifier: GPL-2.0-only
# The registers of the local APIC: a page of memory, or MSRs.


cdef u32 apic_read(l0_vp *vp, u32 number) noexcept nogil:
    cdef const l0_apic *apic = &vp.root.apic

    if number >= L0_APIC_REGISTERS:
        return 0
    if number == APIC_ID:
        return vp.cpu.index if is_x2apic(vp) else vp.cpu.index << 24
    if number == APIC_VERSION:
        return VERSION_OF_MANY
    if number == APIC_TPR:
        return task_priority(vp)
    if number == APIC_PPR:
        return processor_priority(vp)
    if number == APIC_LDR and is_x2apic(vp):
        return (vp.cpu.index >> 4) << 16 | <u32>1 << (vp.cpu.index & 15)
    if APIC_ISR <= number < APIC_TMR:
        return <u32>(apic.isr[(number - APIC_ISR) >> 1] >> 32 * (number & 1))
    if APIC_IRR <= number < APIC_ESR:
        return <u32>(vp.cpu.irr[(number - APIC_IRR) >> 1] >> 32 * (number & 1))
    if number == APIC_ICR_HIGH:
        return apic.icr_high
    if number == APIC_TIMER_LEFT:
        return timer_count_left(vp)
    return apic.reg[number]


cdef void set_task_priority(l0_vp *vp, u32 value) noexcept nogil:
    vp.root.apic.reg[APIC_TPR] = value & 0xff
    vp.cpu.cr8 = value >> 4 & 15
    apic_settle(vp)


cdef void apic_write(l0_vp *vp, u32 number, u32 value) noexcept nogil:
    cdef l0_apic *apic = &vp.root.apic

    if number == APIC_TPR:
        set_task_priority(vp, value)
    elif number == APIC_END:
        apic_end(vp)
    elif number == APIC_ICR_HIGH:
        apic.icr_high = value
    elif number == APIC_ICR:
        # a command is under way for no time
        apic.reg[number] = value & ~<u32>(1 << 12)
        apic_command(vp, value, apic.icr_high if is_x2apic(vp) else apic.icr_high >> 24,
                     is_x2apic(vp))
    elif number == APIC_LVT_TIMER:
        apic_timer_mode(apic, value)
        apic.reg[number] = value
    elif number == APIC_TIMER_COUNT:
        if not apic.reg[APIC_LVT_TIMER] & LVT_DEADLINE:
            apic.reg[number] = value
            apic_timer_start(vp)
    elif number == APIC_DFR:
        apic.reg[number] = value | 0x0fffffff
    elif number == APIC_LDR:
        apic.reg[number] = value & <u32>0xff000000
    elif number == APIC_ESR:
        apic.reg[number] = 0
    elif number == APIC_SPIV or APIC_LVT_TIMER < number <= APIC_LVT_LAST or \
            number == APIC_TIMER_DIVIDE:
        apic.reg[number] = value


cdef bint x2apic_exists(u32 number) noexcept nogil:
    return (number == APIC_ID or number == APIC_VERSION or number == APIC_TPR or
            number == APIC_PPR or number == APIC_END or number == APIC_LDR or
            APIC_SPIV <= number <= APIC_ESR or number == APIC_ICR or
            APIC_LVT_TIMER <= number <= APIC_TIMER_LEFT or number == APIC_TIMER_DIVIDE or
            number == APIC_SELF)


# MSRs 0x800 to 0x8ff in x2APIC mode. SDM 3A 10.12.1.
cdef insn_t x2apic_read(l0_vp *vp, u32 msr, u64 *value) noexcept nogil:
    cdef u32 number = msr - X2APIC_FIRST

    if not is_x2apic(vp) or not x2apic_exists(number) or number == APIC_END or \
            number == APIC_SELF:
        return fault_gp()
    value[0] = apic_read(vp, number)
    if number == APIC_ICR:
        value[0] |= <u64>vp.root.apic.icr_high << 32
    return INSN_OK


cdef bint x2apic_writable(u32 number) noexcept nogil:
    return (number == APIC_TPR or number == APIC_END or number == APIC_SPIV or
            number == APIC_ESR or number == APIC_ICR or
            APIC_LVT_TIMER <= number <= APIC_TIMER_COUNT or number == APIC_TIMER_DIVIDE or
            number == APIC_SELF)


cdef insn_t x2apic_write(l0_vp *vp, u32 msr, u64 value) noexcept nogil:
    cdef u32 number = msr - X2APIC_FIRST

    if not is_x2apic(vp) or not x2apic_writable(number) or (value >> 32 and number != APIC_ICR):
        return fault_gp()
    if (number == APIC_END or number == APIC_ESR) and value:
        return fault_gp()
    if (number == APIC_TPR or number == APIC_SELF) and value >> 8:
        return fault_gp()
    if number == APIC_SELF:
        apic_raise(vp, value & 0xff)
        return INSN_OK
    if number == APIC_ICR:
        vp.root.apic.icr_high = <u32>(value >> 32)
    apic_write(vp, number, <u32>value)
    return INSN_OK


# IA32_APIC_BASE: x2APIC where CPUID has it, and not without the APIC itself.
cdef bint apic_base_valid(const l0_vp *vp, u64 value) noexcept nogil:
    cdef u64 reserved = vp.partition.caps.address_reserved | 0x2ff
    cdef const l0_cpuid_leaf *leaf = cpuid_leaf(&vp.partition.profile, 1)

    if not vp.root.on or leaf == NULL or not leaf.ecx >> 21 & 1:
        reserved |= BASE_X2APIC
    if value & reserved or value & (BASE_ENABLED | BASE_X2APIC) == BASE_X2APIC:
        return False
    # SDM 3A 11.12.5: x2APIC mode is entered from xAPIC mode, and ends with the APIC switched off
    return value & BASE_ENABLED == 0 or not (value ^ vp.msr[SLOT_APIC_BASE].value) & BASE_X2APIC or (
        value & BASE_X2APIC != 0 and vp.msr[SLOT_APIC_BASE].value & BASE_ENABLED != 0)


cdef bint is_apic_msr(const l0_vp *vp, u32 msr) noexcept nogil:
    return vp.root.on and (X2APIC_FIRST <= msr <= X2APIC_LAST or msr == MSR_IA32_TSCDEADLINE)


cdef insn_t apic_msr_read(l0_vp *vp, u32 msr, u64 *value) noexcept nogil:
    if msr != MSR_IA32_TSCDEADLINE:
        return x2apic_read(vp, msr, value)
    value[0] = vp.root.apic.deadline
    return INSN_OK


cdef insn_t apic_msr_write(l0_vp *vp, u32 msr, u64 value) noexcept nogil:
    if msr != MSR_IA32_TSCDEADLINE:
        return x2apic_write(vp, msr, value)
    apic_deadline(vp, value)
    return INSN_OK
