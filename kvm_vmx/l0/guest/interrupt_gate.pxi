# SPDX-License-Identifier: GPL-2.0-only
# From an event to its handler: the interrupt vector table, or a gate of the IDT.

cdef enum:
    GATE_TASK = 5
    GATE_INTERRUPT_16 = 6
    GATE_TRAP_16 = 7
    GATE_INTERRUPT = 14
    GATE_TRAP = 15
    IDT_ERROR = 2
    TASK_SWITCH_BY_GATE = 3
    CLEARED = X86_EFLAGS_TF | X86_EFLAGS_NT | X86_EFLAGS_RF | X86_EFLAGS_VM

# A handler, and the stack it runs on.
cdef struct frame:
    u64 offset
    u32 size                # of what is pushed, in bytes
    u32 external            # the EXT bit of error codes
    bint masks              # an interrupt gate
    u32 level
    l2_segment code
    bint new_stack
    l2_segment stack
    u64 sp


cdef bint is_software(u32 info) noexcept nogil:
    # INT n, INT3 and INTO: what a privilege check stands before
    cdef u32 kind = info & INTR_INFO_INTR_TYPE_MASK

    return kind == INTR_TYPE_SOFT_INTR or kind == INTR_TYPE_SOFT_EXCEPTION


cdef int push_on(l0_vp *vp, frame *f, u64 value) noexcept nogil:
    # onto the handler's stack, whose pointer is not RSP yet
    cdef u64 linear = 0, last
    cdef u32 vector = X86_TRAP_SS
    cdef u64 mask = <u64>0xffffffff if f.stack.rights & VMX_AR_DB_MASK else 0xffff
    cdef bint expand_down = f.stack.rights & (TYPE_CODE | TYPE_CONFORMING) == TYPE_CONFORMING

    if long_mode(vp):
        f.sp -= f.size
        linear = f.sp
        if not is_canonical(linear):
            return fault(vp, X86_TRAP_SS, f.external)
    else:
        f.sp = f.sp & ~mask | (f.sp - f.size) & mask
        last = (f.sp & mask) + f.size - 1
        if expand_down and protected_mode(vp):
            if (f.sp & mask) <= f.stack.limit or last > mask:
                return fault(vp, vector, f.external)
        elif last > f.stack.limit:
            return fault(vp, vector, f.external)
        linear = (f.stack.base + (f.sp & mask)) & <u64>0xffffffff
    return write_linear(vp, linear, f.size, L2_WRITE << (L2_USER if f.level == 3 else 0), value)


cdef int push_all(l0_vp *vp, frame *f, const u64 *values, u32 count) noexcept nogil:
    cdef u32 i
    cdef int status

    for i in range(count):
        status = push_on(vp, f, values[i])
        if status:
            return status
    return L2_DONE


cdef int through_vector_table(l0_vp *vp, u32 vector, u64 rip) noexcept nogil:
    cdef frame f
    cdef u64 pointer = 0
    cdef u64 values[3]
    cdef int status

    if vector * 4 + 3 > segment_limit(vp, SEG_IDTR):
        return fault(vp, X86_TRAP_GP, 0)
    status = read_linear(vp, segment_base(vp, SEG_IDTR) + vector * 4, 4, L2_READ, &pointer)
    if status:
        return status
    get_segment(vp, SEG_SS, &f.stack)
    f.sp = vp.vmcs.f.guest_rsp
    f.size = 2
    f.level = 0
    f.external = 0
    values[0] = vp.vmcs.f.guest_rflags
    values[1] = vp.vmcs.f.guest_cs_selector
    values[2] = rip
    status = push_all(vp, &f, values, 3)
    if status:
        return status
    vp.vmcs.f.guest_rsp = f.sp
    vp.vmcs.f.guest_rflags &= ~<u64>(X86_EFLAGS_IF | X86_EFLAGS_TF | X86_EFLAGS_AC | X86_EFLAGS_RF)
    set_plain_segment(vp, SEG_CS, pointer >> 16)
    vp.vmcs.f.guest_rip = pointer & 0xffff
    return L2_DONE


# A task gate: switching tasks is for L1 to emulate.
cdef int task_switch(l0_vp *vp, u32 selector) noexcept nogil:
    vm_exit_with(vp, EXIT_REASON_TASK_SWITCH, 0, <u64>TASK_SWITCH_BY_GATE << 30 | selector)
    return L2_LEAVES


cdef int read_gate(l0_vp *vp, u32 info, frame *f, u32 *stack_table) noexcept nogil:
    cdef u32 vector = info & INTR_INFO_VECTOR_MASK
    cdef u32 size = 16 if long_mode(vp) else 8
    cdef u32 error = vector << 3 | IDT_ERROR | f.external
    cdef u64 low = 0, high = 0
    cdef u32 kind
    cdef int status

    if vector * size + size - 1 > segment_limit(vp, SEG_IDTR):
        return fault(vp, X86_TRAP_GP, error)
    status = read_linear(vp, segment_base(vp, SEG_IDTR) + vector * size, 8, L2_READ, &low)
    if status == L2_DONE and size == 16:
        status = read_linear(vp, segment_base(vp, SEG_IDTR) + vector * size + 8, 8, L2_READ, &high)
    if status:
        return status
    kind = low >> 40 & 0x1f
    if kind & ~9 != GATE_INTERRUPT_16 and (kind != GATE_TASK or size == 16):
        return fault(vp, X86_TRAP_GP, error)
    if size == 16 and kind != GATE_INTERRUPT and kind != GATE_TRAP:
        return fault(vp, X86_TRAP_GP, error)
    if is_software(info) and (low >> 45 & 3) < vp.guest_cpl:
        return fault(vp, X86_TRAP_GP, error)
    if not low >> 47 & 1:
        return fault(vp, X86_TRAP_NP, error)
    f.code.selector = low >> 16 & 0xffff
    if kind == GATE_TASK:
        return task_switch(vp, f.code.selector)
    f.size = 8 if size == 16 else 4 if kind & 8 else 2
    f.masks = not kind & 1
    f.offset = low & 0xffff | (low >> 48) << 16 | high << 32
    if f.size == 2:
        f.offset &= 0xffff
    stack_table[0] = low >> 32 & 7 if size == 16 else 0
    return L2_DONE


cdef int check_handler(l0_vp *vp, frame *f) noexcept nogil:
    cdef u32 selector = f.code.selector
    cdef u32 error = selector & 0xfffc | f.external
    cdef int status

    if selector & 0xfffc == 0:
        return fault(vp, X86_TRAP_GP, f.external)
    status = fetch_descriptor(vp, selector, X86_TRAP_GP, f.external, &f.code)
    if status:
        return status
    if f.code.rights & (TYPE_CODE | VMX_AR_S_MASK) != (TYPE_CODE | VMX_AR_S_MASK) or \
            VMX_AR_DPL(f.code.rights) > vp.guest_cpl:
        return fault(vp, X86_TRAP_GP, error)
    if long_mode(vp) and f.code.rights & (VMX_AR_L_MASK | VMX_AR_DB_MASK) != VMX_AR_L_MASK:
        return fault(vp, X86_TRAP_GP, error)
    if not f.code.rights & VMX_AR_P_MASK:
        return fault(vp, X86_TRAP_NP, error)
    f.level = vp.guest_cpl if f.code.rights & TYPE_CONFORMING else VMX_AR_DPL(f.code.rights)
    if virtual_8086(vp) and f.level != 0:
        return fault(vp, X86_TRAP_GP, error)
    f.code.selector = selector & 0xfffc | f.level
    return mark_accessed(vp, &f.code)


# The stack pointers that the task-state segment has for a level, or for a number of its table.
cdef int stack_from_task(l0_vp *vp, frame *f, u32 table) noexcept nogil:
    cdef u32 error = vp.vmcs.f.guest_tr_selector & 0xfffc | f.external
    cdef bint narrow = not long_mode(vp) and \
        segment_rights(vp, SEG_TR) & VMX_AR_TYPE_MASK == VMX_AR_TYPE_BUSY_16_TSS
    cdef u32 size = 8 if long_mode(vp) else 2 if narrow else 4
    cdef u32 at = 4 + f.level * 8
    cdef u64 base = segment_base(vp, SEG_TR), selector = 0
    cdef int status

    if long_mode(vp) and table:
        at = 0x24 + (table - 1) * 8
    elif narrow:
        at = 2 + f.level * 4
    if at + size + (0 if size == 8 else 2) - 1 > segment_limit(vp, SEG_TR):
        return fault(vp, X86_TRAP_TS, error)
    status = read_linear(vp, base + at, size, L2_READ, &f.sp)
    if status or size == 8:
        return status
    status = read_linear(vp, base + at + size, 2, L2_READ, &selector)
    if status:
        return status
    return check_stack(vp, <u32>selector, f.level, X86_TRAP_TS, f.external, &f.stack)


cdef int choose_stack(l0_vp *vp, frame *f, u32 table) noexcept nogil:
    cdef int status

    f.new_stack = f.level < vp.guest_cpl
    f.sp = vp.vmcs.f.guest_rsp
    get_segment(vp, SEG_SS, &f.stack)
    if f.new_stack or table:
        status = stack_from_task(vp, f, table)
        if status:
            return status
    if long_mode(vp):
        f.sp &= ~<u64>15
    return L2_DONE


cdef int push_frame(l0_vp *vp, frame *f, u64 rip, u32 info, u32 error) noexcept nogil:
    cdef u64 values[10]
    cdef u32 count = 0
    cdef bint from_vm86 = virtual_8086(vp)

    if from_vm86:
        values[0] = vp.vmcs.f.guest_gs_selector
        values[1] = vp.vmcs.f.guest_fs_selector
        values[2] = vp.vmcs.f.guest_ds_selector
        values[3] = vp.vmcs.f.guest_es_selector
        count = 4
    if f.new_stack or long_mode(vp):
        values[count] = vp.vmcs.f.guest_ss_selector
        values[count + 1] = vp.vmcs.f.guest_rsp
        count += 2
    values[count] = vp.vmcs.f.guest_rflags
    values[count + 1] = vp.vmcs.f.guest_cs_selector
    values[count + 2] = rip
    count += 3
    if info & INTR_INFO_DELIVER_CODE_MASK:
        values[count] = error
        count += 1
    return push_all(vp, f, values, count)


cdef void forget_data_segments(l0_vp *vp) noexcept nogil:
    # those of virtual-8086 mode mean nothing to the handler
    cdef u32 number

    for number in range(6):
        if number != SEG_CS and number != SEG_SS:
            (&vp.vmcs.f.guest_es_selector)[number] = 0
            (&vp.vmcs.f.guest_es_ar_bytes)[number] = VMX_AR_UNUSABLE_MASK


cdef void begin_handler(l0_vp *vp, frame *f) noexcept nogil:
    if virtual_8086(vp):
        forget_data_segments(vp)
    if long_mode(vp):
        if f.new_stack:
            set_null_stack(vp, f.level)
        vp.vmcs.f.guest_rsp = f.sp
    else:
        if f.new_stack:
            set_segment(vp, SEG_SS, &f.stack)
        vp.vmcs.f.guest_rsp = f.sp & <u64>0xffffffff
    set_segment(vp, SEG_CS, &f.code)
    vp.vmcs.f.guest_rip = f.offset
    vp.vmcs.f.guest_rflags &= ~<u64>CLEARED
    if f.masks:
        vp.vmcs.f.guest_rflags &= ~<u64>X86_EFLAGS_IF


# Call the handler of an event; length: how far RIP moves first, for a software event.
cdef int through_gate(l0_vp *vp, u32 info, u32 error, u32 length) noexcept nogil:
    cdef frame f
    cdef u32 stack_table = 0
    cdef u64 rip = vp.vmcs.f.guest_rip + length
    cdef int status

    if vp.code_bits != 64:
        rip &= <u64>0xffffffff
    if not protected_mode(vp):
        return through_vector_table(vp, info & INTR_INFO_VECTOR_MASK, rip)
    f.external = not is_software(info)
    status = read_gate(vp, info, &f, &stack_table)
    if status == L2_DONE:
        status = check_handler(vp, &f)
    if status == L2_DONE:
        status = choose_stack(vp, &f, stack_table)
    if status == L2_DONE:
        status = push_frame(vp, &f, rip, info, error)
    if status:
        return status
    # the handler's first address must be one
    if long_mode(vp) and not is_canonical(f.offset):
        return fault(vp, X86_TRAP_GP, f.external)
    if not long_mode(vp) and f.offset > f.code.limit:
        return fault(vp, X86_TRAP_GP, f.external)
    begin_handler(vp, &f)
    return L2_DONE
