# SPDX-License-Identifier: GPL-2.0-only
# The L2 processor: fetch, decode, execute, until something leaves.

cdef enum:
    OPCODE_CPUID = 0xa20f
    OPCODE_JMP_SHORT = 0xeb
    OPCODE_MOV_IMMEDIATE = 0xb8
    # where the last eight bytes of a page begin
    LAST_WORD = 4096 - 8

cdef extern from *:
    """
    /* the first bytes of an instruction, whatever their alignment */
    static inline u64 eight_bytes(const u8 *code)
    {
        u64 value;

        __builtin_memcpy(&value, code, 8);
        return value;
    }
    """
    u64 eight_bytes(const u8 *code) noexcept nogil

cdef enum:
    OPCODE_IRET = 0xcf
    OPCODE_SYSCALL = 5
    OPCODE_SYSRET = 7
    SINGLE_STEP = 1 << 14


# The instructions of a tight loop of 64-bit code, which no event depends on, until another
# one or an event comes; True where the last one has left L2.
cdef inline bint run_simple(l0_vp *vp) noexcept nogil:
    cdef u64 rip = vp.vmcs.f.guest_rip
    cdef u64 at = rip & 0xfff, target, word
    cdef u64 done = 0, most = vp.deadline - vp.counters.l2_instructions
    cdef const l2_tlb_entry *entry = &vp.tlb[(rip >> 12) & (L2_TLB_ENTRIES - 1)]
    cdef const u8 *code = entry.host
    cdef u32 number
    cdef bint left = False

    if unlikely((entry.tag ^ rip) >> 12 or not entry.tag & fetch_right(vp)):
        return False
    # to the end of the page, where the eight bytes would run over it
    while at <= LAST_WORD:
        word = eight_bytes(code + at)
        number = <u8>word - <u32>OPCODE_MOV_IMMEDIATE
        if <u16>word == OPCODE_CPUID:
            done += 1
            note_exit(vp, EXIT_REASON_CPUID, 2, 0)
            left = True
            break
        if <u8>word == OPCODE_JMP_SHORT:
            target = at + 2 + <u64><s8>(word >> 8)
            # without a jump the page soon ends: here is time enough to look for events
            if unlikely(target > LAST_WORD or events_wait(vp)):
                break
            at = target
        elif number < 8:
            gpr(vp, number)[0] = <u32>(word >> 8)
            at += 5
        else:
            break
        done += 1
        if unlikely(done >= most):
            break
    vp.vmcs.f.guest_rip = rip & ~<u64>0xfff | at
    vp.counters.l2_instructions += done
    return left


# Run L2 until it leaves: the VMCS says why. True where that was what the last entry did, too.
cdef inline bint guest_run(l0_vp *vp) noexcept nogil:
    if unlikely(not vp.entry_is_repeat or
                vp.nr_alarms | events_of(&vp.cpu) | vp.tlb_context[0] ^ vp.vmcs.f.ept_pointer):
        guest_begin(vp)
        return False
    vp.entered_at = vp.counters.l2_instructions
    vp.deadline = vp.entered_at + SLICE
    if unlikely(not run_simple(vp)):
        guest_continue(vp)
        return False
    return True


cdef void guest_flush_tlb(l0_vp *vp) noexcept nogil:
    flush_translations(vp)
    flush_guest_physical(vp)


# Fewer bytes than the instruction has: the segment ends, or the next page does not translate.
cdef int fetch_failed(l0_vp *vp, u64 rip, u32 have) noexcept nogil:
    if have >= LONGEST_INSTRUCTION or have >= bytes_in_segment(vp, rip):
        return fault(vp, X86_TRAP_GP, 0)
    if translate(vp, linear_rip(vp, rip + have), fetch_right(vp)) != NULL:
        return fault(vp, X86_TRAP_UD, 0)
    return L2_FAULTS if vp.fault.vector <= 31 else L2_LEAVES


cdef int fetch_and_decode(l0_vp *vp, l2_insn *insn) noexcept nogil:
    cdef u64 rip = vp.vmcs.f.guest_rip
    cdef u8 code[L0_LONGEST_CODE]
    cdef u32 have
    cdef int how

    if vp.decoded != NULL and find_decoded(vp, insn):
        return L2_DONE
    have = fetch_code(vp, rip, code)
    how = decode(vp, code, have, insn)
    if likely(how == DECODED):
        return L2_DONE
    if how == UNKNOWN:
        return fault(vp, X86_TRAP_UD, 0)
    return fetch_failed(vp, rip, have)


cdef inline bint is_software_interrupt(const l2_insn *insn) noexcept nogil:
    # INT3, INT n, INTO and INT1, which leave no single-step trap behind
    return insn.map == 0 and (0xcc <= insn.opcode <= 0xce or insn.opcode == 0xf1)


cdef void complete(l0_vp *vp, const l2_insn *insn, u32 shadow, u64 flags) noexcept nogil:
    vp.vmcs.f.guest_rip = vp.next_rip
    if insn.opcode != OPCODE_IRET or insn.map:
        vp.vmcs.f.guest_rflags &= ~<u64>X86_EFLAGS_RF
    vp.vmcs.f.guest_interruptibility_info &= ~shadow
    if insn.map == 1 and (insn.opcode == OPCODE_SYSCALL or insn.opcode == OPCODE_SYSRET):
        # alone among all, they trap by what they leave in TF
        flags = vp.vmcs.f.guest_rflags
    if flags & X86_EFLAGS_TF and not is_software_interrupt(insn):
        vp.vmcs.f.guest_pending_dbg_exceptions |= SINGLE_STEP
        vp.boundary_work = 1
    mode_changed(vp)


# One instruction; False where it leaves L2.
cdef bint step(l0_vp *vp) noexcept nogil:
    cdef l2_insn insn
    cdef u32 shadow = vp.vmcs.f.guest_interruptibility_info & SHADOW
    cdef u64 flags = vp.vmcs.f.guest_rflags
    cdef bint traps = vp.vmcs.f.cpu_based_vm_exec_control & CPU_BASED_MONITOR_TRAP_FLAG != 0
    cdef int status

    vp.unblocked_nmi = 0
    status = fetch_and_decode(vp, &insn)
    if status == L2_DONE:
        vp.next_rip = vp.vmcs.f.guest_rip + insn.length
        if vp.code_bits != 64:
            vp.next_rip &= <u64>0xffffffff
        status = execute(vp, &insn)
        if status == L2_DONE:
            complete(vp, &insn, shadow, flags)
    if status == L2_LEAVES or (status == L2_FAULTS and not raise_fault(vp)):
        vp.root_insn = insn
        return False
    if traps:
        vp.trap_pending = 1
        vp.boundary_work = 1
    return True


cdef inline bint boundary_has_work(const l0_vp *vp) noexcept nogil:
    # is there anything at this boundary?
    return vp.boundary_work or events_wait(vp) or vp.counters.l2_instructions >= vp.deadline


# Whatever an entry may find changed, and the event that it injects; False where that leaves.
cdef bint prepare_entry(l0_vp *vp) noexcept nogil:
    vp.entry_is_repeat = 0
    translations_current(vp)
    mode_changed(vp)
    vp.boundary_work = 0
    set_deadline(vp)
    return not needs_boundary_checks(vp) or (inject_entry_event(vp) and virtual_apic_entered(vp))


# An exit of a tight loop leaves nothing to look at but what L1 then changes.
cdef inline void stay_familiar(l0_vp *vp) noexcept nogil:
    vp.entry_is_repeat = vp.vmcs.f.secondary_vm_exec_control & SECONDARY_EXEC_ENABLE_VPID != 0 and \
        not vp.vmcs.f.pin_based_vm_exec_control & PIN_BASED_VMX_PREEMPTION_TIMER


# The loop: at each boundary what waits there, then an instruction or a row of simple ones.
cdef void guest_continue(l0_vp *vp) noexcept nogil:
    vp.entry_is_repeat = 0
    while True:
        if unlikely(boundary_has_work(vp)):
            if not handle_boundary(vp):
                return
        elif likely(vp.code_bits == 64):
            if run_simple(vp):
                stay_familiar(vp)
                return
            if unlikely(boundary_has_work(vp)):
                continue
            if vp.decoded != NULL:
                if run_decoded(vp):
                    return
                if boundary_has_work(vp) or vp.code_bits != 64:
                    continue
        vp.counters.l2_instructions += 1
        if not step(vp):
            return


cdef void guest_go_on(l0_vp *vp) noexcept nogil:
    translations_current(vp)
    mode_changed(vp)
    vp.boundary_work = 1
    # the boundary's alarms, and the deadline of the next ones
    vp.deadline = vp.resumed_at = vp.counters.l2_instructions
    guest_continue(vp)


# Run L2 from an entry until it leaves; from an instruction in the middle; and from the
# boundary on at which it was stopped.
cdef void guest_begin(l0_vp *vp) noexcept nogil:
    if prepare_entry(vp):
        guest_continue(vp)
