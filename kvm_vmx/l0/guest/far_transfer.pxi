# SPDX-License-Identifier: GPL-2.0-only
# IRET, RETF, JMP far and CALL far of L2: transfers that load CS.

cdef enum:
    TASK_SWITCH_BY_IRET = 1
    # CF PF AF ZF SF TF DF OF NT: what any code may write; AC and ID with 4 bytes or more
    ORDINARY = 0x4dd5
    WIDE = 1 << 18 | 1 << 21
    SYSTEM = 3 << 19


# RFLAGS as IRET and POPF may write them, from a value of `size` bytes.
cdef void write_flags(l0_vp *vp, u64 value, u32 size, u64 more) noexcept nogil:
    cdef u64 old = vp.vmcs.f.guest_rflags
    cdef u64 mask = ORDINARY | more

    if size > 2:
        mask |= WIDE
    else:
        mask &= 0xffff
    if vp.guest_cpl == 0:
        mask |= X86_EFLAGS_IOPL
    if vp.guest_cpl <= (old >> 12 & 3) or not protected_mode(vp):
        mask |= X86_EFLAGS_IF
    vp.vmcs.f.guest_rflags = old & ~mask | value & mask | 2
    vp.boundary_work = 1


# Is code at this descriptor a place that a transfer of this privilege may go to?
cdef int check_code(l0_vp *vp, u32 selector, bint is_return, l2_segment *d) noexcept nogil:
    cdef u32 error = selector & 0xfffc
    cdef u32 level
    cdef int status

    if error == 0:
        return fault(vp, X86_TRAP_GP, 0)
    status = fetch_descriptor(vp, selector, X86_TRAP_GP, 0, d)
    if status:
        return status
    level = VMX_AR_DPL(d.rights)
    if d.rights & (TYPE_CODE | VMX_AR_S_MASK) != (TYPE_CODE | VMX_AR_S_MASK):
        return fault(vp, X86_TRAP_GP, error)
    if is_return:
        if selector & 3 < vp.guest_cpl or (
                level > (selector & 3) if d.rights & TYPE_CONFORMING else level != selector & 3):
            return fault(vp, X86_TRAP_GP, error)
    elif level > vp.guest_cpl if d.rights & TYPE_CONFORMING else (
            level != vp.guest_cpl or selector & 3 > vp.guest_cpl):
        return fault(vp, X86_TRAP_GP, error)
    if long_mode(vp) and d.rights & VMX_AR_L_MASK and d.rights & VMX_AR_DB_MASK:
        return fault(vp, X86_TRAP_GP, error)
    if not d.rights & VMX_AR_P_MASK:
        return fault(vp, X86_TRAP_NP, error)
    return mark_accessed(vp, d)


cdef int check_target(l0_vp *vp, const l2_segment *code, u64 rip) noexcept nogil:
    if long_mode(vp) and code.rights & VMX_AR_L_MASK:
        return L2_DONE if is_canonical(rip) else fault(vp, X86_TRAP_GP, 0)
    return fault(vp, X86_TRAP_GP, 0) if rip > code.limit else L2_DONE


cdef int jump_plain(l0_vp *vp, u32 selector, u64 offset) noexcept nogil:
    if offset > segment_limit(vp, SEG_CS):
        return fault(vp, X86_TRAP_GP, 0)
    set_plain_segment(vp, SEG_CS, selector)
    vp.next_rip = offset
    return L2_DONE


cdef int far_jump(l0_vp *vp, u32 selector, u64 offset) noexcept nogil:
    cdef l2_segment code
    cdef int status

    if plain_segments(vp):
        return jump_plain(vp, selector, offset)
    status = check_code(vp, selector, False, &code)
    if status == L2_DONE:
        status = check_target(vp, &code, offset)
    if status:
        return status
    code.selector = selector & 0xfffc | vp.guest_cpl
    set_segment(vp, SEG_CS, &code)
    vp.next_rip = offset
    return L2_DONE


# CALL far: a return address that cannot be pushed leaves everything as it was.
cdef int far_call(l0_vp *vp, const l2_insn *insn, u32 selector, u64 offset) noexcept nogil:
    cdef u64 back = vp.next_rip, rsp = vp.vmcs.f.guest_rsp
    cdef u32 from_selector = vp.vmcs.f.guest_cs_selector
    cdef l2_segment code
    cdef int status = L2_DONE

    if not plain_segments(vp):
        status = check_code(vp, selector, False, &code)
        if status == L2_DONE:
            status = check_target(vp, &code, offset)
    elif offset > segment_limit(vp, SEG_CS):
        status = fault(vp, X86_TRAP_GP, 0)
    if status == L2_DONE:
        status = push(vp, insn.size, from_selector)
    if status == L2_DONE:
        status = push(vp, insn.size, back)
    if status:
        vp.vmcs.f.guest_rsp = rsp
        return status
    if plain_segments(vp):
        return jump_plain(vp, selector, offset)
    code.selector = selector & 0xfffc | vp.guest_cpl
    set_segment(vp, SEG_CS, &code)
    vp.next_rip = offset
    return L2_DONE


# In outer code, segment registers of an inner level become null.
cdef void hide_inner_segments(l0_vp *vp, u32 level) noexcept nogil:
    cdef u32 number, rights

    for number in range(6):
        rights = segment_rights(vp, number)
        if number == SEG_CS or number == SEG_SS or rights & VMX_AR_UNUSABLE_MASK:
            continue
        if rights & (TYPE_CODE | TYPE_CONFORMING) != (TYPE_CODE | TYPE_CONFORMING) and \
                VMX_AR_DPL(rights) < level:
            (&vp.vmcs.f.guest_es_selector)[number] = 0
            (&vp.vmcs.f.guest_es_ar_bytes)[number] = VMX_AR_UNUSABLE_MASK


cdef int outer_stack(l0_vp *vp, u32 selector, const l2_segment *code, l2_segment *stack) \
        noexcept nogil:
    cdef u32 level = code.selector & 3

    if selector & 0xfffc == 0 and long_mode(vp) and code.rights & VMX_AR_L_MASK and level != 3 \
            and selector & 3 == level:
        stack.selector = selector
        stack.rights = VMX_AR_UNUSABLE_MASK | level << VMX_AR_DPL_SHIFT
        stack.base = 0
        stack.limit = 0
        return L2_DONE
    return check_stack(vp, selector, level, X86_TRAP_GP, 0, stack)


# What RETF and IRET have in common: CS:RIP, and SS:RSP behind `skip` more values and the bytes of
# parameters, which go from either stack.
cdef int far_back(l0_vp *vp, u32 size, u32 skip, u32 parameters, bint always_stack, u64 flags) \
        noexcept nogil:
    cdef l2_segment code, stack
    cdef u64 rip = 0, selector = 0, rsp = 0, ss = 0
    cdef u32 level = vp.guest_cpl
    cdef bint new_stack
    cdef int status = peek(vp, size, 0, &rip)

    if status == L2_DONE:
        status = peek(vp, size, size, &selector)
    if status == L2_DONE:
        status = check_code(vp, selector & 0xffff, True, &code)
    if status == L2_DONE:
        status = check_target(vp, &code, rip)
    if status:
        return status
    new_stack = always_stack or code.selector & 3 > level
    if new_stack:
        status = peek(vp, size, size * (2 + skip) + parameters, &rsp)
        if status == L2_DONE:
            status = peek(vp, size, size * (3 + skip) + parameters, &ss)
        if status == L2_DONE:
            status = outer_stack(vp, ss & 0xffff, &code, &stack)
        if status:
            return status
    if skip:
        # before the level changes: it decides which flags may be written
        write_flags(vp, flags, size, X86_EFLAGS_RF if size > 2 else 0)
    if new_stack:
        set_segment(vp, SEG_SS, &stack)
        if size == 2:
            rsp |= vp.vmcs.f.guest_rsp & ~<u64>0xffff
        vp.vmcs.f.guest_rsp = rsp
        if parameters:
            set_stack_pointer(vp, rsp + parameters)
        if code.selector & 3 > level:
            hide_inner_segments(vp, code.selector & 3)
    else:
        pop_done(vp, size * (2 + skip) + parameters)
    set_segment(vp, SEG_CS, &code)
    vp.next_rip = rip
    return L2_DONE


cdef int far_return(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 rip = 0, selector = 0
    cdef u32 parameters = insn.immediate & 0xffff
    cdef int status

    if not plain_segments(vp):
        return far_back(vp, insn.size, 0, parameters, False, 0)
    status = peek(vp, insn.size, 0, &rip)
    if status == L2_DONE:
        status = peek(vp, insn.size, insn.size, &selector)
    if status == L2_DONE:
        status = jump_plain(vp, selector & 0xffff, rip)
    if status == L2_DONE:
        pop_done(vp, 2 * insn.size + parameters)
    return status


cdef int return_plain(l0_vp *vp, u32 size) noexcept nogil:
    cdef u64 rip = 0, selector = 0, flags = 0
    cdef int status = peek(vp, size, 0, &rip)

    if status == L2_DONE:
        status = peek(vp, size, size, &selector)
    if status == L2_DONE:
        status = peek(vp, size, 2 * size, &flags)
    if status == L2_DONE:
        status = jump_plain(vp, selector & 0xffff, rip)
    if status:
        return status
    write_flags(vp, flags, size, X86_EFLAGS_RF if size > 2 else 0)
    pop_done(vp, 3 * size)
    return L2_DONE


# With NMI exiting, only virtual NMIs are IRET's to unblock; it does so even where it faults.
cdef void unblock_nmis(l0_vp *vp) noexcept nogil:
    cdef u32 pin = vp.vmcs.f.pin_based_vm_exec_control

    if pin & PIN_BASED_NMI_EXITING and not pin & PIN_BASED_VIRTUAL_NMIS:
        return
    if vp.vmcs.f.guest_interruptibility_info & GUEST_INTR_STATE_NMI:
        vp.unblocked_nmi = 1
        vp.vmcs.f.guest_interruptibility_info &= ~<u32>GUEST_INTR_STATE_NMI
        vp.boundary_work = 1


cdef int return_to_task(l0_vp *vp) noexcept nogil:
    # the link to the task before is the first word of the task-state segment
    cdef u64 selector = 0
    cdef int status = read_linear(vp, segment_base(vp, SEG_TR), 2, L2_READ, &selector)

    if status:
        return status
    vm_exit_with(vp, EXIT_REASON_TASK_SWITCH, <u32>(vp.next_rip - vp.vmcs.f.guest_rip),
          <u64>TASK_SWITCH_BY_IRET << 30 | selector)
    return L2_LEAVES


cdef int interrupt_return(l0_vp *vp, const l2_insn *insn) noexcept nogil:
    cdef u64 flags = 0
    cdef int status

    if virtual_8086(vp) and vp.vmcs.f.guest_rflags & X86_EFLAGS_IOPL != X86_EFLAGS_IOPL:
        return fault(vp, X86_TRAP_GP, 0)
    unblock_nmis(vp)
    if plain_segments(vp):
        return return_plain(vp, insn.size)
    if vp.vmcs.f.guest_rflags & X86_EFLAGS_NT:
        return fault(vp, X86_TRAP_GP, 0) if long_mode(vp) else return_to_task(vp)
    status = peek(vp, insn.size, 2 * insn.size, &flags)
    if status:
        return status
    if flags & X86_EFLAGS_VM and insn.size == 4 and vp.guest_cpl == 0 and not long_mode(vp):
        # virtual-8086 mode can be entered by VM entry alone
        return fault(vp, X86_TRAP_GP, 0)
    return far_back(vp, insn.size, 1, 0, vp.code_bits == 64, flags)
