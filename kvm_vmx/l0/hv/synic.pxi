# SPDX-License-Identifier: GPL-2.0-only
# The synthetic interrupt controller, and the APIC's registers as Hyper-V's MSRs.

cdef enum:
    # how a message fares
    FIRED = 0
    NO_SLOT = 1             # it waits for the end of another, or for an open source
    NOT_YET = 2             # another interrupt waits: once more, later

cdef enum:
    MSR_CONTROL = 0x40000080
    MSR_VERSION = 0x40000081
    MSR_EVENT_PAGE = 0x40000082
    MSR_MESSAGE_PAGE = 0x40000083
    MSR_END_OF_MESSAGE = 0x40000084
    MSR_SOURCE_0 = 0x40000090

    MASKED = 1 << 16
    AUTO_END = 1 << 17
    POLLING = 1 << 18

    # the APIC's interrupt command: delivery mode fixed, destination shorthands
    ICR_MODE = 0x700
    ICR_SELF = 1
    ICR_ALL = 2

    # a message: type, size of the body, flags, sender; then the body
    MESSAGE_SIZE = 256
    MESSAGE_HEADER = 16
    MESSAGE_LENGTH = 4
    MESSAGE_FLAGS = 5
    MESSAGE_PENDING = 1


cdef void synic_reset(l0_vp *vp) noexcept nogil:
    cdef u32 i
    for i in range(L0_NR_SINTS):
        vp.synic.source[i] = MASKED


cdef bint synic_has(u32 msr) noexcept nogil:
    return MSR_CONTROL <= msr <= MSR_END_OF_MESSAGE or \
        MSR_SOURCE_0 <= msr < MSR_SOURCE_0 + L0_NR_SINTS or \
        HV_X64_MSR_EOI <= msr <= HV_X64_MSR_TPR


cdef insn_t synic_read(l0_vp *vp, u32 msr, u64 *value) noexcept nogil:
    if msr == HV_X64_MSR_EOI:
        # a command, not a register
        return deny(vp, CHECK_rdmsr_command, 0, msr, 0)
    if msr == HV_X64_MSR_ICR:
        value[0] = vp.synic.icr
    elif msr == HV_X64_MSR_TPR:
        value[0] = vp.synic.tpr
    elif msr == MSR_CONTROL:
        value[0] = vp.synic.control
    elif msr == MSR_VERSION:
        value[0] = 1
    elif msr == MSR_EVENT_PAGE:
        value[0] = vp.synic.event_page
    elif msr == MSR_MESSAGE_PAGE:
        value[0] = vp.synic.message_page
    elif msr == MSR_END_OF_MESSAGE:
        value[0] = 0
    else:
        value[0] = vp.synic.source[msr - MSR_SOURCE_0]
    return INSN_OK


# A fixed interrupt to one processor by its APIC ID, or by shorthand; other modes do nothing.
cdef void send_interrupt(l0_vp *vp, u64 command) noexcept nogil:
    cdef l0_partition *partition = vp.partition
    cdef u32 shorthand = command >> 18 & 3
    cdef u32 vector = command & 0xff
    cdef u32 i
    cdef bint chosen

    if command & ICR_MODE or vector < FIRST_VECTOR:
        return
    for i in range(partition.nr_vps):
        if shorthand == 0:
            chosen = i == command >> 56
        elif shorthand == ICR_SELF:
            chosen = i == vp.cpu.index
        else:
            chosen = shorthand == ICR_ALL or i != vp.cpu.index
        if chosen:
            irq_raise(&partition.vp[i].cpu, vector)


cdef insn_t write_page(l0_vp *vp, u32 msr, u64 *place, u64 value) noexcept nogil:
    if value & ENABLED and phys_page(vp.cpu.mem, value) == NULL:
        return deny(vp, CHECK_synic_frame, value, msr, 0)
    place[0] = value
    return INSN_OK


cdef insn_t synic_write(l0_vp *vp, u32 msr, u64 value) noexcept nogil:
    if msr == HV_X64_MSR_EOI:
        # nothing is in service: an interrupt is gone once it is delivered
        if breaks(CHECK_synic_eoi, value):
            return deny(vp, CHECK_synic_eoi, value, msr, 0)
        stimers_retry(vp)
        ports_retry(vp)
        return INSN_OK
    if msr == HV_X64_MSR_ICR:
        vp.synic.icr = value
        send_interrupt(vp, value)
    elif msr == HV_X64_MSR_TPR:
        if breaks(CHECK_synic_tpr, value):
            return deny(vp, CHECK_synic_tpr, value, msr, 0)
        vp.synic.tpr = value
    elif msr == MSR_CONTROL:
        vp.synic.control = value
    elif msr == MSR_VERSION:
        return deny(vp, CHECK_wrmsr_read_only, value, msr, 0)
    elif msr == MSR_END_OF_MESSAGE:
        stimers_retry(vp)
        ports_retry(vp)
    elif msr == MSR_EVENT_PAGE:
        return write_page(vp, msr, &vp.synic.event_page, value)
    elif msr == MSR_MESSAGE_PAGE:
        return write_page(vp, msr, &vp.synic.message_page, value)
    else:
        # a source: unmasked it needs a vector that an APIC can deliver
        if not value & MASKED and value & 0xff < FIRST_VECTOR:
            return deny(vp, CHECK_synic_vector, value, msr, 0)
        vp.synic.source[msr - MSR_SOURCE_0] = value
    return INSN_OK


# TLFS, Virtual Interrupts: an interrupt of a source with AutoEOI ends as it is delivered.
cdef bint ends_by_itself(const l0_vp *vp, u32 vector) noexcept nogil:
    cdef u32 i

    if not vp.synic.control & ENABLED:
        return False
    for i in range(<u32>L0_NR_SINTS):
        if vp.synic.source[i] & (MASKED | AUTO_END | 0xff) == AUTO_END | vector:
            return True
    return False


# Let a vector wait at the processor; False where another one does already, and no APIC sorts them.
cdef bint synic_pending(l0_vp *vp, u32 vector) noexcept nogil:
    if vp.root.on:
        apic_raise(vp, vector)
        return True
    if irq_is_pending(&vp.cpu, vector):
        return True
    if vp.cpu.intr:
        return False
    irq_raise(&vp.cpu, vector)
    return True


# Put a message into a source's slot, and let its interrupt wait.
cdef int synic_message(l0_vp *vp, u32 source, u32 kind, const void *body, u32 length,
                       bint may_be_lost) noexcept nogil:
    cdef u64 value = vp.synic.source[source]
    cdef u8 *slot = phys_page(vp.cpu.mem, vp.synic.message_page)

    if not vp.synic.message_page & ENABLED or slot == NULL or not vp.synic.control & ENABLED:
        return NO_SLOT
    slot += source * MESSAGE_SIZE
    if (<const u32 *>slot)[0]:
        if may_be_lost:
            return FIRED
        # whoever reads the other one is to write the end-of-message MSR
        slot[MESSAGE_FLAGS] |= MESSAGE_PENDING
        return NO_SLOT
    if value & MASKED:
        return NO_SLOT
    if not value & POLLING and not synic_pending(vp, <u32>value & 0xff):
        return NOT_YET
    memset(slot, 0, MESSAGE_HEADER)
    slot[MESSAGE_LENGTH] = <u8>length
    memcpy(slot + MESSAGE_HEADER, body, length)
    (<u32 *>slot)[0] = kind
    return FIRED


# A synthetic interrupt source fires; is its vector now pending?
cdef bint synic_signal(l0_vp *vp, u32 source) noexcept nogil:
    cdef u64 value

    if source >= L0_NR_SINTS or not vp.synic.control & ENABLED:
        return False
    value = vp.synic.source[source]
    if value & (MASKED | POLLING):
        return False
    irq_raise(&vp.cpu, <u32>value & 0xff)
    return True
