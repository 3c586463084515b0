# SPDX-License-Identifier: GPL-2.0-only
# VM exit: the parts that are not done at every exit.
from kvm_vmx.abi.types cimport u8, u32, u64
from kvm_vmx.abi.virt_cpu cimport INSN_MAKE_FAULT, INSN_OK, insn_t
from kvm_vmx.abi.vmx cimport *
from kvm_vmx.l0.control_registers cimport CR0_ET
from kvm_vmx.l0.msr_lists cimport load_msr_list, store_msr_list
from kvm_vmx.l0.outcome cimport lint
from kvm_vmx.l0.state cimport *

cdef enum:
    # the abort indicators of a list that could not be stored, or loaded
    ABORT_STORE = 1
    ABORT_LOAD = 4
    # a machine check, where L1 has lent the processor without any way to have it back
    MC_VECTOR = 18


# L2 has not left, and L1 does not go on: L2 is stopped, or the processor checks out.
cdef insn_t not_left(l0_vp *vp) noexcept nogil:
    if vp.in_guest == L0_STOPPED:
        return INSN_OK
    vp.in_guest = 0
    return INSN_MAKE_FAULT(MC_VECTOR, 0)


cdef void load_host_registers(l0_vp *vp, const l0_vmcs *v) noexcept nogil:
    # ET is 1 in every processor of today
    vp.cpu.cr0 = v.f.host_cr0 | CR0_ET
    vp.cpu.cr3 = v.f.host_cr3
    vp.cpu.cr4 = v.f.host_cr4
    vp.cpu.tr_base = v.f.host_tr_base
    vp.cpu.gdtr_base = v.f.host_gdtr_base
    vp.cpu.idtr_base = v.f.host_idtr_base
    vp.msr[SLOT_FS_BASE].value = v.f.host_fs_base
    vp.msr[SLOT_GS_BASE].value = v.f.host_gs_base
    vp.msr[SLOT_SYSENTER_CS].value = v.f.host_ia32_sysenter_cs
    vp.msr[SLOT_SYSENTER_ESP].value = v.f.host_ia32_sysenter_esp
    vp.msr[SLOT_SYSENTER_EIP].value = v.f.host_ia32_sysenter_eip
    vp.host_loaded = 1


# With the control on, the exit acknowledges the interrupt and reports its vector.
cdef void acknowledge_interrupt(l0_vp *vp, l0_vmcs *v) noexcept nogil:
    if v.f.vm_exit_intr_info >> 31:
        return
    if v.f.vm_exit_controls & VM_EXIT_ACK_INTR_ON_EXIT and vp.cpu.intr:
        v.f.vm_exit_intr_info = <u32>INTR_INFO_VALID_MASK | INTR_TYPE_EXT_INTR | \
            vp.cpu.intr & INTR_INFO_VECTOR_MASK
        vp.cpu.intr = 0


# A real processor shuts down with an abort indicator in the VMCS; this one goes on.
cdef void abort_list(l0_vp *vp, l0_vmcs *v, u32 indicator) noexcept nogil:
    cdef u8 *page
    cdef u64 pointer = vp.current_vmptr

    lint(vp, LINT_msr_list_aborted)
    v.f.abort = indicator
    if v == &vp.copy:
        pointer = vp.active_evmcs & ~<u64>0xfff
    page = phys_page(vp.cpu.mem, pointer)
    if page != NULL:
        (<u32 *>page)[1] = indicator


# The preemption timer counts an instruction of L2 as one.
cdef void save_timer(const l0_vp *vp, l0_vmcs *v) noexcept nogil:
    cdef u64 spent = vp.counters.l2_instructions - vp.entered_at

    if spent < v.vmx_preemption_timer_value:
        v.vmx_preemption_timer_value -= <u32>spent
    else:
        v.vmx_preemption_timer_value = 0


cdef void rare_exit_work(l0_vp *vp, l0_vmcs *v) noexcept nogil:
    cdef bint stored

    if v.f.vm_exit_controls & VM_EXIT_SAVE_VMX_PREEMPTION_TIMER:
        save_timer(vp, v)
    if v.f.vm_exit_reason == EXIT_REASON_EXTERNAL_INTERRUPT:
        acknowledge_interrupt(vp, v)
    if v.f.vm_exit_msr_store_count:
        # some of them are in the VMCS still
        vp.in_guest = 1
        stored = store_msr_list(vp, v.f.vm_exit_msr_store_addr, v.f.vm_exit_msr_store_count)
        vp.in_guest = 0
        if not stored:
            abort_list(vp, v, ABORT_STORE)


cdef void load_host_lists(l0_vp *vp, l0_vmcs *v) noexcept nogil:
    if v.f.vm_exit_controls & VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL:
        vp.msr[SLOT_PERF_GLOBAL_CTRL].value = v.host_ia32_perf_global_ctrl
    if v.f.vm_exit_msr_load_count and load_msr_list(
            vp, v.f.vm_exit_msr_load_addr, v.f.vm_exit_msr_load_count):
        abort_list(vp, v, ABORT_LOAD)
