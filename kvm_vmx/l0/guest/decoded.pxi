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
    return &vp.decoded[(linear ^ linear >> 10) & (L0_DECODED - 1)]


# Does no limit of the code segment cut the instruction short?
cdef inline bint is_unlimited(const l0_vp *vp) noexcept nogil:
    return vp.code_bits == 64 or vp.vmcs.f.guest_cs_limit == ~<u32>0


cdef inline bint find_decoded(l0_vp *vp, l2_insn *insn) noexcept nogil:
    cdef u64 linear = linear_rip(vp, vp.vmcs.f.guest_rip)
    cdef const u8 *code = code_at_hand(vp, linear)
    cdef const l0_decoded *slot

    if code == NULL or not is_unlimited(vp):
        return False
    slot = decoded_slot(vp, linear)
    if slot.bits != vp.code_bits or eight_bytes(code) ^ slot.code[0] | \
            eight_bytes(code + LAST_EIGHT) ^ slot.code[1]:
        return False
    insn[0] = slot.insn
    effective_address(vp, insn)
    return True


# Keep what has just been decoded, before its operand has an address; code holds fifteen bytes.
cdef void keep_decoded(l0_vp *vp, const u8 *code, const l2_insn *insn) noexcept nogil:
    cdef u64 linear = linear_rip(vp, vp.vmcs.f.guest_rip)
    cdef l0_decoded *slot = decoded_slot(vp, linear)

    if linear & 0xfff > LAST_SIXTEEN or not is_unlimited(vp):
        return
    slot.code[0] = eight_bytes(code)
    slot.code[1] = eight_bytes(code + LAST_EIGHT)
    slot.bits = vp.code_bits
    slot.insn = insn[0]
