# SPDX-License-Identifier: GPL-2.0-only
# A row of L2's instructions from an entry to its CPUID: read once, then done again at once.

cdef enum:
    NR_WORDS = 2
    WORD_BYTES = 8


# A word of code at this place of L2's page, kept; the words of a row are looked at each time.
cdef inline u64 row_word(l0_row *row, u32 number, const u8 *page, u64 at) noexcept nogil:
    row.code[number] = page + at
    row.word[number] = eight_bytes(page + at)
    return row.word[number]


# Read the row that begins at RIP; False where another one stands there. L2 is in 64-bit mode.
cdef bint read_row(l0_vp *vp, u64 rip) noexcept nogil:
    cdef const l2_tlb_entry *entry = &vp.tlb[(rip >> 12) & (L2_TLB_ENTRIES - 1)]
    cdef l0_row *row = &vp.row
    cdef u64 at = rip & 0xfff, word
    cdef u32 used = 0
    cdef bint jumped = False, moved_one = False

    if rip >> 32 or at > LAST_WORD or (entry.tag ^ rip) >> 12 or not entry.tag & fetch_right(vp):
        return False
    word = row_word(row, 0, entry.host, at)
    row.insns = 1
    while <u16>word != OPCODE_CPUID:
        if <u8>word == OPCODE_JMP_SHORT and not jumped and used <= WORD_BYTES - 2:
            at += 2 + <u64><s8>(word >> 8)
            if at > LAST_WORD:
                return False
            word = row_word(row, 1, entry.host, at)
            used = 0
            jumped = True
        elif (<u32>word & 0xf8) == OPCODE_MOV_IMMEDIATE and not moved_one and \
                used <= WORD_BYTES - 5:
            row.number = word & 7
            row.value = <u32>(word >> 8)
            # zeros come in behind: they are no instruction of a row
            word >>= 40
            at += 5
            used += 5
            moved_one = True
        else:
            return False
        row.insns += 1
    if not jumped:
        row.code[1], row.word[1] = row.code[0], row.word[0]
    row.rip = rip
    row.end = rip & ~<u64>0xfff | at
    # RSP of L2 is not with its other registers
    return moved_one and row.number != GPR_RSP


cdef inline bint row_stands(const l0_vp *vp, u64 rip) noexcept nogil:
    cdef const l0_row *row = &vp.row

    return rip == row.rip and eight_bytes(row.code[0]) == row.word[0] and \
        eight_bytes(row.code[1]) == row.word[1]


# L2 runs from the entry to its CPUID. Nobody looks at L2's state in vp between an exit and an entry,
# so what only a running L2 needs there stays as it was.
cdef inline void run_row(l0_vp *vp, l0_vmcs *v, u64 *regs) noexcept nogil:
    vp.counters.l2_instructions += vp.row.insns
    regs[vp.row.number] = vp.row.value
    v.f.guest_rip = vp.row.end
