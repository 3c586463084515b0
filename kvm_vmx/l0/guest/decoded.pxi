# SPDX-License-Identifier: GPL-2.0-only
# Instructions that were decoded before: found again while the bytes at their place are the same.

cdef enum:
    # where sixteen bytes would run over the end of a page
    LAST_SIXTEEN = 4096 - 16
    # the longest instruction has fifteen bytes: two words cover them
    LAST_EIGHT = LONGEST_INSTRUCTION - 8


# The host address of the sixteen bytes at RIP, where they lie in a page that the TLB has.
cdef inline const u8 *code_at_hand(l0_vp *vp, u64 linear) noexcept nogil:
    cdef const l2_tlb_entry *entry = &vp.tlb[(linear >> 12) & (L2_TLB_ENTRIES - 1)]

    if (entry.tag ^ linear) >> 12 or not entry.tag & fetch_right(vp) or \
            linear & 0xfff > LAST_SIXTEEN:
        return NULL
    return entry.host + (linear & 0xfff)


cdef inline l0_decoded *decoded_slot(l0_vp *vp, u64 linear) noexcept nogil:
    return &vp.decoded[(linear ^ linear >> 12) & (L0_DECODED - 1)]


# Does no limit of the code segment cut the instruction short?
cdef inline bint is_unlimited(const l0_vp *vp) noexcept nogil:
    return vp.code_bits == 64 or vp.vmcs.f.guest_cs_limit == ~<u32>0


# What stands at RIP, where it was decoded before; its operand has no address yet.
cdef inline l0_decoded *decoded_here(l0_vp *vp, u64 rip, u64 linear) noexcept nogil:
    cdef const u8 *code = code_at_hand(vp, linear)
    cdef l0_decoded *slot = decoded_slot(vp, linear)

    if unlikely(code == NULL) or (slot.rip ^ rip) | (slot.bits ^ vp.code_bits) | \
            (eight_bytes(code) ^ slot.code[0]) | (eight_bytes(code + LAST_EIGHT) ^ slot.code[1]):
        return NULL
    return slot


# The address of its operand, which is relative to nothing but registers any more.
cdef inline void address_of_decoded(l0_vp *vp, l2_insn *insn) noexcept nogil:
    cdef u64 offset = insn.displacement

    if insn.base != L2_NO_REGISTER:
        offset += gpr(vp, insn.base)[0]
    if insn.index != L2_NO_REGISTER:
        offset += gpr(vp, insn.index)[0] << insn.scale
    if unlikely(insn.address_size != 8):
        offset &= size_mask(insn.address_size)
    insn.offset = offset


cdef inline bint find_decoded(l0_vp *vp, l2_insn *insn) noexcept nogil:
    cdef u64 rip = vp.vmcs.f.guest_rip
    cdef u64 linear = linear_rip(vp, rip)
    cdef const l0_decoded *slot

    # the fetch comes first: its page may have left the TLB
    if not is_unlimited(vp) or translate(vp, linear, fetch_right(vp)) == NULL:
        return False
    slot = decoded_here(vp, rip, linear)
    if slot == NULL:
        return False
    insn[0] = slot.insn
    address_of_decoded(vp, insn)
    return True


# Keep what has just been decoded, with the address of its operand; code holds fifteen bytes.
cdef void keep_decoded(l0_vp *vp, const u8 *code, const l2_insn *insn) noexcept nogil:
    cdef u64 rip = vp.vmcs.f.guest_rip
    cdef u64 linear = linear_rip(vp, rip)
    cdef l0_decoded *slot = decoded_slot(vp, linear)

    if linear & 0xfff > LAST_SIXTEEN or not is_unlimited(vp):
        return
    slot.code[0] = eight_bytes(code)
    slot.code[1] = eight_bytes(code + LAST_EIGHT)
    slot.rip = rip
    slot.bits = vp.code_bits
    slot.insn = insn[0]
    slot.quick = quick_of(insn)


# Nothing comes between the instructions of a row: no trap behind each, no breakpoint, no shadow
# that ends, no access that must be aligned.
cdef inline bint may_be_quick(const l0_vp *vp) noexcept nogil:
    cdef const l0_vmcs *v = vp.vmcs

    return not v.f.guest_rflags & (X86_EFLAGS_TF | X86_EFLAGS_RF) and \
        not v.f.guest_interruptibility_info & SHADOW and \
        not v.f.cpu_based_vm_exec_control & CPU_BASED_MONITOR_TRAP_FLAG


# A row of instructions of 64-bit code that were decoded before, until one is not, or something
# waits at a boundary; True where the last one has left.
cdef bint run_decoded(l0_vp *vp) noexcept nogil:
    cdef l0_decoded *slot
    cdef u64 rip
    cdef int status

    if not may_be_quick(vp):
        return False
    vp.unblocked_nmi = 0
    while True:
        rip = vp.vmcs.f.guest_rip
        slot = decoded_here(vp, rip, rip)
        if slot == NULL or slot.quick == NULL:
            return False
        vp.counters.l2_instructions += 1
        vp.next_rip = rip + slot.insn.length
        if slot.insn.is_memory:
            address_of_decoded(vp, &slot.insn)
        status = slot.quick(vp, &slot.insn)
        if unlikely(status):
            break
        vp.vmcs.f.guest_rip = vp.next_rip
        if unlikely(boundary_has_work(vp)):
            return False
    if status == L2_FAULTS and raise_fault(vp):
        return False
    vp.root_insn = slot.insn
    return True
