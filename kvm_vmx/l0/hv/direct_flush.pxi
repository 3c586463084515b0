# SPDX-License-Identifier: GPL-2.0-only
# Direct virtual flush: the flush hypercalls of L2 that L0 answers in L1's place.

cdef enum:
    # what becomes of a VMCALL of L2
    CALL_EXITS = 0          # it is L1's
    CALL_DONE = 1           # L0 has answered it: L2 goes on
    CALL_UNDEFINED = 3      # it raises #UD in L2
    CALL_DONE_THEN_EXIT = 2 # likewise, and L1 waits for it: the VMCS says why

cdef enum:
    NESTED_DIRECT_FLUSH = 1 << 17
    ASSIST_FEATURES = 0x20
    FEATURE_DIRECT_CALLS = 1
    EXIT_TRAP_AFTER_FLUSH = 0x10000031


# R77: both switches, and the profile that offers it.
cdef bint enabled(l0_vp *vp) noexcept nogil:
    cdef const u8 *assist

    if vp.vmcs != &vp.evmcs_cache or not l0_flags(&vp.evmcs_cache) & L0_FLAG_DIRECT_FLUSH or \
            not vp.partition.caps.nested & NESTED_DIRECT_FLUSH or \
            not vp.assist_msr & HV_X64_MSR_VP_ASSIST_PAGE_ENABLE:
        return False
    assist = phys_page(vp.cpu.mem, vp.assist_msr)
    return assist != NULL and assist[ASSIST_FEATURES] & FEATURE_DIRECT_CALLS != 0


cdef bint is_flush(u32 code) noexcept nogil:
    return code == HVCALL_FLUSH_VIRTUAL_ADDRESS_SPACE or \
        code == HVCALL_FLUSH_VIRTUAL_ADDRESS_LIST or \
        code == HVCALL_FLUSH_VIRTUAL_ADDRESS_SPACE_EX or \
        code == HVCALL_FLUSH_VIRTUAL_ADDRESS_LIST_EX


# Memory of L2 at a guest-physical address, to the end of its page; NULL where there is none.
cdef const u8 *l2_memory(l0_vp *vp, u64 gpa) noexcept nogil:
    cdef u64 flags = vp.vmcs.f.guest_rflags
    cdef const u8 *page = guest_memory(vp, gpa & ~<u64>0xfff, 0, L2_READ, OPERAND)

    # a hypercall's parameters that are not there are a status, never an exit
    vp.vmcs.f.guest_rflags = flags
    if page == NULL or is_open_bus(page):
        return NULL
    return page + (gpa & 0xfff)


# R82: the status may wait for the processors whose TLBs L1 has locked.
cdef int finish(l0_vp *vp, u64 status) noexcept nogil:
    cdef const u8 *partition_page = phys_ptr(
        vp.cpu.mem, vp.evmcs_cache.f.partition_assist_page & ~<u64>0xfff, 4)

    if status & HV_HYPERCALL_RESULT_MASK == HV_STATUS_SUCCESS and partition_page == NULL:
        note_denial(vp, CHECK_flush_partition_page, vp.regs[GPR_RCX],
                    vp.regs[GPR_RCX] & 0xffff, vp.evmcs_cache.f.partition_assist_page)
        status = HV_STATUS_INVALID_HYPERCALL_INPUT
    vp.regs[GPR_RAX] = status
    if status & HV_HYPERCALL_RESULT_MASK != HV_STATUS_SUCCESS or \
            (<const u32 *>partition_page)[0] == 0:
        return CALL_DONE
    vm_exit_with(vp, EXIT_TRAP_AFTER_FLUSH, 0, 0)
    return CALL_DONE_THEN_EXIT


cdef int direct_call(l0_vp *vp, u32 length) noexcept nogil:
    cdef u64 status = 0

    if not is_flush(vp.regs[GPR_RCX] & 0xffff) or not enabled(vp):
        return CALL_EXITS
    # R92: outside privilege level 0 it is no hypercall; the profile says who decides what it is
    if VMX_AR_DPL(vp.vmcs.f.guest_ss_ar_bytes) or not vp.vmcs.f.guest_cr0 & 1 or \
            hypercall(vp, vp.regs, True, &status) != INSN_OK:
        return CALL_UNDEFINED if vp.partition.profile.user_flush_is_ud else CALL_EXITS
    vp.vmcs.f.guest_rip += length
    return finish(vp, status)
