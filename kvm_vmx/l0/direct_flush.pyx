# SPDX-License-Identifier: GPL-2.0-only
# Direct virtual flush: the flush hypercalls of L2 that L0 answers in L1's place.
from kvm_vmx.abi.hyperv_tlfs cimport (
    HV_HYPERCALL_RESULT_MASK, HV_STATUS_INVALID_HYPERCALL_INPUT, HV_STATUS_SUCCESS,
    HV_X64_MSR_VP_ASSIST_PAGE_ENABLE, HVCALL_FLUSH_VIRTUAL_ADDRESS_LIST,
    HVCALL_FLUSH_VIRTUAL_ADDRESS_LIST_EX, HVCALL_FLUSH_VIRTUAL_ADDRESS_SPACE,
    HVCALL_FLUSH_VIRTUAL_ADDRESS_SPACE_EX,
)
from kvm_vmx.abi.types cimport u8, u32, u64
from kvm_vmx.abi.virt_cpu cimport GPR_RAX, GPR_RCX, INSN_OK
from kvm_vmx.abi.vmx cimport VMX_AR_DPL
from kvm_vmx.l0.ept cimport OPERAND, guest_memory, is_open_bus
from kvm_vmx.l0.hypercall cimport hypercall
from kvm_vmx.l0.layout cimport L0_FLAG_DIRECT_FLUSH, l0_flags
from kvm_vmx.l0.state cimport *
from kvm_vmx.l0.translate cimport leave

cdef enum:
    NESTED_DIRECT_FLUSH = 1 << 17
    ASSIST_FEATURES = 0x20
    FEATURE_DIRECT_CALLS = 1
    EXIT_TRAP_AFTER_FLUSH = 0x10000031


# R77: both switches, and the profile that offers it.
cdef bint enabled(l0_vp *vp) noexcept nogil:
    cdef const u8 *assist

    if vp.vmcs != &vp.copy or not l0_flags(&vp.copy) & L0_FLAG_DIRECT_FLUSH or \
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
        vp.cpu.mem, vp.copy.f.partition_assist_page & ~<u64>0xfff, 4)

    if status & HV_HYPERCALL_RESULT_MASK == HV_STATUS_SUCCESS and partition_page == NULL:
        status = HV_STATUS_INVALID_HYPERCALL_INPUT
    vp.regs[GPR_RAX] = status
    if status & HV_HYPERCALL_RESULT_MASK != HV_STATUS_SUCCESS or \
            (<const u32 *>partition_page)[0] == 0:
        return CALL_DONE
    leave(vp, EXIT_TRAP_AFTER_FLUSH, 0, 0)
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
