# SPDX-License-Identifier: GPL-2.0-only
# Interrupts of L2's own APIC: which is recognized, its delivery, its end; posted interrupts.

cdef extern from *:
    """
    #define highest_bit(word) (31u - (u32)__builtin_clz(word))
    #define word_taken(place) __atomic_exchange_n(place, 0, __ATOMIC_SEQ_CST)
    #define word_without(place, bits) ((void)__atomic_fetch_and(place, ~(bits), __ATOMIC_SEQ_CST))
    #define word_with(place, bits) ((void)__atomic_fetch_or(place, bits, __ATOMIC_SEQ_CST))
    """
    u32 highest_bit(u32 word) nogil
    u32 word_taken(u32 *place) nogil
    void word_without(u32 *place, u32 bits) nogil
    void word_with(u32 *place, u32 bits) nogil

cdef enum:
    # of a posted-interrupt descriptor: eight words of requests, then the outstanding notification
    DESCRIPTOR_SIZE = 64
    REQUEST_WORDS = 8
    OUTSTANDING = 1


# The word of a register of 256 bits that holds a vector's bit.
cdef u32 *vector_word(l0_vp *vp, u32 offset, u32 vector) noexcept nogil:
    return virtual_register(vp, offset | (vector & 0xe0) >> 1)


cdef u32 highest_vector(l0_vp *vp, u32 offset) noexcept nogil:
    cdef const u8 *page = virtual_page(vp) + offset
    cdef u32 number, word

    for number in range(<u32>REQUEST_WORDS):
        word = (<const u32 *>(page + 16 * (REQUEST_WORDS - 1 - number)))[0]
        if word:
            return 32 * (REQUEST_WORDS - 1 - number) + highest_bit(word)
    return 0


cdef inline u32 requested(const l0_vp *vp) noexcept nogil:
    return vp.vmcs.guest_intr_status & 0xff


cdef inline u32 in_service(const l0_vp *vp) noexcept nogil:
    return vp.vmcs.guest_intr_status >> 8


cdef void set_status_of_interrupts(l0_vp *vp, u32 request, u32 service) noexcept nogil:
    vp.vmcs.guest_intr_status = <u16>(service << 8 | request)


# SDM 30.1.3.
cdef void virtualize_processor_priority(l0_vp *vp) noexcept nogil:
    cdef u32 task = virtual_register(vp, VIRTUAL_TPR)[0] & 0xff
    cdef u32 service = in_service(vp) & 0xf0

    virtual_register(vp, VIRTUAL_PPR)[0] = task if task & 0xf0 >= service else service


# SDM 30.2.1: at an entry, and whenever one of the priorities or requests changes.
cdef void evaluate_interrupts(l0_vp *vp) noexcept nogil:
    vp.root.apic.virtual_work &= ~<u32>VIRTUAL_INTERRUPT
    if not vp.vmcs.f.cpu_based_vm_exec_control & CPU_BASED_VIRTUAL_INTR_PENDING and \
            requested(vp) & 0xf0 > virtual_register(vp, VIRTUAL_PPR)[0] & 0xf0:
        vp.root.apic.virtual_work |= VIRTUAL_INTERRUPT
        vp.boundary_work = 1


# SDM 30.1.2: L2 has changed its task priority. False where it leaves.
cdef bint virtualize_priority(l0_vp *vp) noexcept nogil:
    if has_control(vp.vmcs, SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY):
        virtualize_processor_priority(vp)
        evaluate_interrupts(vp)
        return True
    return not below_threshold(vp)


cdef bint below_threshold(l0_vp *vp) noexcept nogil:
    cdef u32 *word = priority_word(vp)

    if word == NULL or word[0] >> 4 & 15 >= vp.vmcs.f.tpr_threshold & 15:
        return False
    vm_exit_with(vp, EXIT_REASON_TPR_BELOW_THRESHOLD, 0, 0)
    return True


# SDM 30.1.4: the end of the interrupt in service. False where L1 wants to know of it.
cdef bint virtualize_end(l0_vp *vp) noexcept nogil:
    cdef u32 vector = in_service(vp)

    word_without(vector_word(vp, VIRTUAL_ISR, vector), <u32>1 << (vector & 31))
    set_status_of_interrupts(vp, requested(vp), highest_vector(vp, VIRTUAL_ISR))
    virtualize_processor_priority(vp)
    if vp.vmcs.eoi_exit_bitmap[vector >> 6] >> (vector & 63) & 1:
        vm_exit_with(vp, EXIT_REASON_EOI_INDUCED, 0, vector)
        return False
    evaluate_interrupts(vp)
    return True


# SDM 30.1.5: L2 sends itself an interrupt.
cdef void virtualize_self(l0_vp *vp, u32 vector) noexcept nogil:
    word_with(vector_word(vp, VIRTUAL_IRR, vector), <u32>1 << (vector & 31))
    set_status_of_interrupts(vp, max(requested(vp), vector), in_service(vp))
    evaluate_interrupts(vp)


# SDM 30.2.2: the recognized interrupt, through L2's IDT. False where that leaves.
cdef bint deliver_virtual_interrupt(l0_vp *vp) noexcept nogil:
    cdef u32 vector = requested(vp)

    vp.root.apic.virtual_work &= ~<u32>VIRTUAL_INTERRUPT
    word_with(vector_word(vp, VIRTUAL_ISR, vector), <u32>1 << (vector & 31))
    virtual_register(vp, VIRTUAL_PPR)[0] = vector & 0xf0
    word_without(vector_word(vp, VIRTUAL_IRR, vector), <u32>1 << (vector & 31))
    set_status_of_interrupts(vp, highest_vector(vp, VIRTUAL_IRR), vector)
    vp.unblocked_nmi = 0
    return deliver_here(vp, INTR_TYPE_EXT_INTR | vector)


# SDM 30.6: what others have posted becomes requested.
cdef void take_posted(l0_vp *vp) noexcept nogil:
    cdef u32 *word = <u32 *>phys_ptr(
        vp.cpu.mem, vp.vmcs.posted_intr_desc_addr, DESCRIPTOR_SIZE)
    cdef u32 number, posted

    if word == NULL:
        return
    word_without(&word[REQUEST_WORDS], OUTSTANDING)
    for number in range(<u32>REQUEST_WORDS):
        posted = word_taken(&word[number])
        if posted:
            word_with(virtual_register(vp, VIRTUAL_IRR + 16 * number), posted)
            set_status_of_interrupts(
                vp, max(requested(vp), 32 * number + highest_bit(posted)), in_service(vp))
    evaluate_interrupts(vp)


# Is the interrupt that has come the notification of posted ones? Then it is no interrupt of L1's.
cdef bint take_notification(l0_vp *vp) noexcept nogil:
    cdef u32 first = irq_first(&vp.cpu)

    if first != (0x100 | <u32>vp.vmcs.posted_intr_nv & 0xff):
        return False
    take_vector(vp)
    if vp.root.on:
        apic_end(vp)
    take_posted(vp)
    return True


# Behind the event that the entry injects, before the first instruction. SDM 27.3.2.5, 27.7.7.
# False where L2 leaves.
cdef bint virtual_apic_entered(l0_vp *vp) noexcept nogil:
    cdef u32 work = vp.root.apic.virtual_work

    vp.root.apic.virtual_work = 0
    if not work & VIRTUAL_ENTRY:
        return True
    if has_control(vp.vmcs, SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY):
        virtualize_processor_priority(vp)
        evaluate_interrupts(vp)
        return True
    return not below_threshold(vp)


# L2 goes on where it was stopped, perhaps in another partition.
cdef void virtual_apic_resumed(l0_vp *vp) noexcept nogil:
    if has_control(vp.vmcs, SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY):
        evaluate_interrupts(vp)
