# SPDX-License-Identifier: GPL-2.0-only
# The chain of events that L2 may die of, kept off every path without an event.


cdef l0_chained *append(l0_vp *vp, u32 info, u32 error, u64 payload) noexcept nogil:
    # a chain too long keeps its beginning and its end
    cdef u32 i = min(vp.chain.length, <u32>L0_MAX_CHAIN - 1)
    cdef l0_chained *event = &vp.chain.event[i]

    vp.chain.length = i + 1
    event.rip = vp.vmcs.f.guest_rip
    event.info = info
    event.error = error
    event.payload = payload
    event.code_bits = vp.code_bits
    event.have = event.decoded = 0
    return event


# The instruction once more, as it was fetched: neither fault nor registers move.
cdef void look_at_code(l0_vp *vp, l0_chained *event) noexcept nogil:
    cdef l2_fault fault = vp.fault
    cdef l2_insn insn

    event.have = fetch_code(vp, event.rip, event.code)
    event.decoded = decode(vp, event.code, event.have, &insn) == DECODED
    if event.decoded:
        event.have = insn.length
    vp.fault = fault


# A debug trap comes behind its instruction, interrupts between two.
cdef bint of_instruction(u32 info) noexcept nogil:
    cdef u32 kind = info & INTR_INFO_INTR_TYPE_MASK

    if kind == INTR_TYPE_HARD_EXCEPTION:
        return info & INTR_INFO_VECTOR_MASK != X86_TRAP_DB
    return kind != INTR_TYPE_EXT_INTR and kind != INTR_TYPE_NMI_INTR


# Is the code where the TLB leads to it already? Looking must leave no trace.
cdef bint at_hand(l0_vp *vp, u64 rip) noexcept nogil:
    cdef u64 linear = linear_rip(vp, rip)
    cdef const l2_tlb_entry *entry = &vp.tlb[(linear >> 12) & (L2_TLB_ENTRIES - 1)]

    return not (entry.tag ^ linear) >> 12 and entry.tag & fetch_right(vp) != 0


# The exception in vp.fault, which an instruction of L2 has raised, or INT n: a chain begins.
cdef void chain_raised(l0_vp *vp, u32 info) noexcept nogil:
    cdef l0_chained *event

    vp.chain.length = 0
    event = append(vp, info, vp.fault.error, vp.fault.payload)
    if of_instruction(info):
        look_at_code(vp, event)


# An event is delivered: it begins a chain unless it is the one that this chain has last.
cdef void chain_delivered(l0_vp *vp, u32 info, u32 error) noexcept nogil:
    cdef const l0_chained *last
    cdef l0_chained *event

    if vp.chain.length:
        # L1 may have looked at it in between, and injected it again
        last = &vp.chain.event[vp.chain.length - 1]
        if last.rip == vp.vmcs.f.guest_rip and not (last.info ^ info) & INTR_INFO_VECTOR_MASK:
            return
    vp.chain.length = 0
    event = append(
        vp, info, error, vp.cpu.cr2 if info & INTR_INFO_VECTOR_MASK == X86_TRAP_PF else 0)
    if of_instruction(info) and at_hand(vp, event.rip) and \
            at_hand(vp, event.rip + L0_LONGEST_CODE - 1):
        look_at_code(vp, event)


# What that delivery met, or what became of both.
cdef void chain_met(l0_vp *vp, u32 info) noexcept nogil:
    append(vp, info, vp.fault.error, vp.fault.payload)
