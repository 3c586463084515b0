# SPDX-License-Identifier: GPL-2.0-only
# Events of L2: intercepted by L1 or delivered, and what becomes of faults in between.

cdef enum:
    # exceptions 8, 10 to 14 and 17 push an error code
    WITH_ERROR_CODE = 1 << 8 | 0x1f << 10 | 1 << 17
    # #DE #TS #NP #SS #GP #CP
    CONTRIBUTORY = 1 << 0 | 0xf << 10 | 1 << 21
    DEBUG_SHADOW = GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS


cdef inline u32 exception_info(l0_vp *vp, u32 vector) noexcept nogil:
    cdef u32 info = <u32>INTR_INFO_VALID_MASK | INTR_TYPE_HARD_EXCEPTION | vector

    # real-address mode knows no error codes
    if protected_mode(vp) and <u32>WITH_ERROR_CODE >> vector & 1:
        info |= INTR_INFO_DELIVER_CODE_MASK
    return info


cdef bint exception_exits(const l0_vp *vp, u32 vector, u32 error) noexcept nogil:
    cdef bint bit = vp.vmcs.f.exception_bitmap >> vector & 1

    if vector != X86_TRAP_PF or (
            vp.vmcs == &vp.evmcs_cache and not vp.partition.profile.honour_page_fault_filter):
        return bit
    # a page fault that does not match turns the meaning of its bit round
    return bit == (error & vp.vmcs.f.page_fault_error_code_mask ==
                   vp.vmcs.f.page_fault_error_code_match)


cdef void exception_exit(l0_vp *vp, u32 info, u32 error, u64 payload, u32 length) noexcept nogil:
    vm_exit_with(vp, EXIT_REASON_EXCEPTION_NMI, length, payload)
    vp.vmcs.f.vm_exit_intr_info = info
    if info & INTR_INFO_DELIVER_CODE_MASK:
        vp.vmcs.f.vm_exit_intr_error_code = error
    if vp.unblocked_nmi and info & INTR_INFO_VECTOR_MASK != X86_TRAP_DF and not vp.vectoring:
        vp.vmcs.f.vm_exit_intr_info |= INTR_INFO_UNBLOCK_NMI


# The registers that say more of an exception, which only its delivery writes.
cdef void account(l0_vp *vp) noexcept nogil:
    if vp.fault.vector == X86_TRAP_PF:
        vp.cpu.cr2 = vp.fault.payload
    elif vp.fault.vector == X86_TRAP_DB:
        vp.cpu.dr6 = vp.cpu.dr6 & ~<u64>DR6_MAY | vp.fault.payload
        vp.cpu.dr7 &= ~<u64>DR7_GD


# SDM 3A 6.15, table 6-5: two exceptions in a row that make a double fault.
cdef bint fatal(u32 first, u32 second) noexcept nogil:
    if first == X86_TRAP_PF or first == X86_TRAP_VE:
        return second == X86_TRAP_PF or <u32>CONTRIBUTORY >> second & 1
    return <u32>CONTRIBUTORY >> first & 1 and <u32>CONTRIBUTORY >> second & 1


cdef bint is_soft(u32 info) noexcept nogil:
    cdef u32 kind = info & INTR_INFO_INTR_TYPE_MASK

    return kind == INTR_TYPE_SOFT_INTR or kind == INTR_TYPE_PRIV_SW_EXCEPTION or \
        kind == INTR_TYPE_SOFT_EXCEPTION


# The delivery of an event has itself left L2.
cdef bint left_in_delivery(l0_vp *vp, u32 info, u32 error, u32 length) noexcept nogil:
    vp.vmcs.f.idt_vectoring_info_field = info
    if info & INTR_INFO_DELIVER_CODE_MASK:
        vp.vmcs.f.idt_vectoring_error_code = error
    if is_soft(info):
        vp.vmcs.f.vm_exit_instruction_len = length
    vp.vectoring = 0
    return False


# What a fault of a delivery turns it into: 1, an event to deliver in its place; 0, L2 leaves.
cdef bint merge(l0_vp *vp, u32 info, u32 error, u32 length) noexcept nogil:
    cdef u32 first = info & INTR_INFO_VECTOR_MASK, second = vp.fault.vector

    # SDM 3C 26.2: the fault's own bit of the bitmap comes before what it would be merged into
    if exception_exits(vp, second, vp.fault.error):
        exception_exit(vp, exception_info(vp, second), vp.fault.error, vp.fault.payload, 0)
        return left_in_delivery(vp, info, error, length)
    # a page fault that is merged has written CR2 all the same
    account(vp)
    if info & INTR_INFO_INTR_TYPE_MASK != INTR_TYPE_HARD_EXCEPTION:
        return True
    if first == X86_TRAP_DF and fatal(X86_TRAP_PF, second):
        vm_exit_with(vp, EXIT_REASON_TRIPLE_FAULT, 0, 0)
        vp.vectoring = 0
        return False
    if not fatal(first, second):
        return True
    fault(vp, X86_TRAP_DF, 0)
    chain_met(vp, exception_info(vp, X86_TRAP_DF))
    if not exception_exits(vp, X86_TRAP_DF, 0):
        return True
    # SDM 3C 28.2.4: a double fault that leaves is no part of a delivery
    exception_exit(vp, exception_info(vp, X86_TRAP_DF), 0, 0, 0)
    vp.vectoring = 0
    return False


# Each returns True where L2 goes on, False where it leaves.
# An event through the guest's IDT: interruption information, error code, instruction length.
cdef bint deliver(l0_vp *vp, u32 info, u32 error, u32 length) noexcept nogil:
    cdef int status

    vp.vmcs.f.guest_interruptibility_info &= ~<u32>DEBUG_SHADOW
    if info & INTR_INFO_INTR_TYPE_MASK == INTR_TYPE_NMI_INTR:
        vp.vmcs.f.guest_interruptibility_info |= GUEST_INTR_STATE_NMI
    vp.vmcs.f.guest_activity_state = GUEST_ACTIVITY_ACTIVE
    vp.boundary_work = 1
    chain_delivered(vp, info, error)
    while True:
        vp.vectoring = info
        vp.vectoring_error = error
        status = through_gate(vp, info, error, length if is_soft(info) else 0)
        mode_changed(vp)
        if status == L2_DONE:
            vp.vectoring = 0
            return True
        if status == L2_LEAVES:
            return left_in_delivery(vp, info, error, length)
        chain_met(vp, exception_info(vp, vp.fault.vector))
        if not merge(vp, info, error, length):
            return False
        info = exception_info(vp, vp.fault.vector)
        error = vp.fault.error


cdef bint raise_event(l0_vp *vp, u32 info, u32 length) noexcept nogil:
    cdef u32 error = vp.fault.error

    chain_raised(vp, info)
    if exception_exits(vp, vp.fault.vector, error):
        exception_exit(vp, info, error, vp.fault.payload, length)
        return False
    account(vp)
    return deliver(vp, info, error, length)


# The exception in vp.fault: intercepted by L1, or delivered.
cdef bint raise_fault(l0_vp *vp) noexcept nogil:
    # the instruction will be tried again: a breakpoint on it has had its turn
    vp.vmcs.f.guest_rflags |= X86_EFLAGS_RF
    return raise_event(vp, exception_info(vp, vp.fault.vector), 0)


# INT3 and INTO, INT1, or INT n, whose instruction has `length` bytes.
cdef bint raise_software(l0_vp *vp, u32 kind, u32 vector, u32 length) noexcept nogil:
    cdef u32 info = <u32>INTR_INFO_VALID_MASK | kind | vector

    fault(vp, vector, 0)
    vp.vmcs.f.guest_rflags &= ~<u64>X86_EFLAGS_RF
    if kind == INTR_TYPE_SOFT_INTR:
        # INT n is not an exception, whatever its vector
        chain_raised(vp, info)
        return deliver(vp, info, 0, length)
    return raise_event(vp, info, length)


# A debug exception that is a trap, with the bits of DR6.
cdef bint raise_debug_trap(l0_vp *vp, u32 what) noexcept nogil:
    fault(vp, X86_TRAP_DB, 0)
    vp.fault.payload = what
    return raise_event(vp, exception_info(vp, X86_TRAP_DB), 0)


# An event that comes at this boundary. SDM 26.5.2: a monitor trap comes behind it, before the first
# instruction of its handler.
cdef bint deliver_here(l0_vp *vp, u32 info) noexcept nogil:
    if not deliver(vp, <u32>INTR_INFO_VALID_MASK | info, 0, 0):
        return False
    vp.trap_pending = vp.vmcs.f.cpu_based_vm_exec_control & CPU_BASED_MONITOR_TRAP_FLAG != 0
    return True
