# SPDX-License-Identifier: GPL-2.0-only
# The loop by which compilers without a library fill memory, byte by byte, done a page at a time:
# MOV r8, (A); ADD $1, A; CMP B, A; JNE back to the MOV.

cdef enum:
    FILL_INSNS = 4
    FILL_BACK = -12


# The three registers of such a loop: what is stored, where, up to where; False for another loop.
cdef bint is_fill(const u8 *code, u32 *value, u32 *at, u32 *end) noexcept nogil:
    # REX, 88 with ModRM: no SIB, no displacement; REX.W 83 /0 1; REX.W 39; 75 -12
    if code[0] != 0x40 or code[1] != 0x88 or code[2] >> 6 or code[3] != 0x48 or code[4] != 0x83 or \
            code[5] & 0xf8 != 0xc0 or code[6] != 1 or code[7] != 0x48 or code[8] != 0x39 or \
            code[9] >> 6 != 3 or code[10] != 0x75 or code[11] != 0xf4:
        return False
    value[0] = code[2] >> 3 & 7
    at[0] = code[2] & 7
    end[0] = code[9] >> 3 & 7
    return at[0] == code[5] & 7 and at[0] == code[9] & 7 and at[0] != GPR_RSP and \
        at[0] != GPR_RBP and end[0] != at[0] and value[0] != at[0]


cdef u8 *page_to_fill(l0_vp *vp, u64 linear) noexcept nogil:
    cdef const l2_tlb_entry *entry = &vp.tlb[(linear >> 12) & (L2_TLB_ENTRIES - 1)]

    if (entry.tag ^ linear) >> 12 or not entry.tag & <u64>L2_WRITE << user(vp):
        return NULL
    return entry.host


# The loop's branch back is taken: as many rounds as the page, the time until the next event and
# the loop itself have, but for the last one.
cdef void fill_on(l0_vp *vp, u64 target) noexcept nogil:
    cdef const u8 *code = code_at_hand(vp, target)
    cdef u8 *page
    cdef u32 value = 0, at = 0, end = 0
    cdef u64 place, rounds, now = vp.counters.l2_instructions

    if code == NULL or not is_fill(code, &value, &at, &end) or vp.boundary_work or \
            events_wait(vp) or now + 2 * FILL_INSNS > vp.deadline or \
            vp.vmcs.f.guest_rflags & X86_EFLAGS_TF or vp.vmcs.f.cpu_based_vm_exec_control & \
            CPU_BASED_MONITOR_TRAP_FLAG:
        return
    place = vp.regs[at]
    page = page_to_fill(vp, place)
    if page == NULL or page == code - (target & 0xfff):
        return
    rounds = min(gpr(vp, end)[0] - place - 1, 4096 - (place & 0xfff))
    rounds = min(rounds, (vp.deadline - now) // FILL_INSNS - 1)
    if rounds == 0:
        return
    memset(page + (place & 0xfff), <u8>gpr(vp, value)[0], rounds)
    vp.regs[at] = place + rounds
    vp.counters.l2_instructions += FILL_INSNS * rounds
    # the flags of the last comparison
    alu(vp, ALU_CMP, place + rounds, gpr(vp, end)[0], 8)
