# SPDX-License-Identifier: GPL-2.0-only
# VM exit: what is stored of L2, and the host state that L1 continues with.
from kvm_vmx.abi.types cimport likely, u8, u32, u64, unlikely
from kvm_vmx.abi.virt_cpu cimport insn_t
from kvm_vmx.abi.vmx cimport *
from kvm_vmx.l0.layout cimport L0_WRITE_BACK_BYTES, l0_write_back
from kvm_vmx.l0.msr cimport EFER_LMA, EFER_LME
from kvm_vmx.l0.state cimport *

# What VMLAUNCH or VMRESUME ends with where there is no exit.
cdef insn_t not_left(l0_vp *vp) noexcept nogil
# Everything of the host state but what differs from exit to exit.
cdef void load_host_registers(l0_vp *vp, const l0_vmcs *v) noexcept nogil
# The timer's value, interrupt acknowledgement, the list of MSRs to store: what few exits need.
cdef void rare_exit_work(l0_vp *vp, l0_vmcs *v) noexcept nogil
# PERF_GLOBAL_CTRL and the list of MSRs to load: behind all other host state.
cdef void load_host_lists(l0_vp *vp, l0_vmcs *v) noexcept nogil

cdef inline void save_guest_msrs(l0_vp *vp, l0_vmcs *v) noexcept nogil:
    cdef u32 controls = v.f.vm_exit_controls

    if controls & VM_EXIT_SAVE_IA32_PAT:
        v.f.guest_ia32_pat = vp.msr[SLOT_PAT].value
    if controls & VM_EXIT_SAVE_IA32_EFER:
        v.f.guest_ia32_efer = vp.efer
    if controls & VM_EXIT_SAVE_DEBUG_CONTROLS:
        v.f.guest_dr7 = vp.cpu.dr7
        # K12: no exit writes it into an eVMCS, so that page and copy stay one
        if v == &vp.plain:
            v.f.guest_ia32_debugctl = vp.msr[SLOT_DEBUGCTL].value
    # where a guest can change its mode, the entry control follows it
    if unlikely((vp.efer >> 1 ^ v.f.vm_entry_controls) & VM_ENTRY_IA32E_MODE) and \
            vp.partition.caps.misc & VMX_MISC_SAVE_EFER_LMA:
        v.f.vm_entry_controls ^= VM_ENTRY_IA32E_MODE

cdef inline void load_host_state(l0_vp *vp, const l0_vmcs *v) noexcept nogil:
    cdef u32 controls = v.f.vm_exit_controls

    vp.cpu.rip = v.f.host_rip
    vp.cpu.rsp = v.f.host_rsp
    vp.cpu.rflags = 2
    vp.cpu.cpl = 0
    vp.cpu.dr7 = 0x400
    vp.mov_ss_shadow = 0
    vp.msr[SLOT_DEBUGCTL].value = 0
    if controls & VM_EXIT_LOAD_IA32_PAT:
        vp.msr[SLOT_PAT].value = v.f.host_ia32_pat
    if controls & VM_EXIT_LOAD_IA32_EFER:
        vp.efer = v.f.host_ia32_efer
    elif likely(controls & VM_EXIT_HOST_ADDR_SPACE_SIZE):
        vp.efer |= EFER_LMA | EFER_LME
    else:
        vp.efer &= ~<u64>(EFER_LMA | EFER_LME)
    if unlikely(not vp.host_loaded):
        load_host_registers(vp, v)

# For whoever watches: how often each reason came, and the last ones with their circumstances.
cdef inline void record_exit(l0_vp *vp, const l0_vmcs *v) noexcept nogil:
    cdef l0_exit_record *record

    vp.exit_reasons[v.f.vm_exit_reason & (L0_NR_EXIT_REASONS - 1)] += 1
    if unlikely(vp.exit_log != NULL):
        record = &vp.exit_log[vp.exit_log_end % vp.exit_log_size]
        vp.exit_log_end += 1
        record.rip = v.f.guest_rip
        record.qualification = v.f.exit_qualification
        record.reason = v.f.vm_exit_reason
        record.clean_fields = v.f.hv_clean_fields

cdef inline void vm_exit(l0_vp *vp, l0_vmcs *v, u8 *page) noexcept nogil:
    cdef bint rare = v.f.vm_exit_reason == EXIT_REASON_EXTERNAL_INTERRUPT or \
        v.f.vm_exit_controls & (VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL |
                                VM_EXIT_SAVE_VMX_PREEMPTION_TIMER) or \
        v.f.vm_exit_msr_store_count | v.f.vm_exit_msr_load_count

    # the event has been injected: not once more at the next entry. Without one nothing is
    # stored, which the write-back would have to wait for
    if unlikely(v.f.vm_entry_intr_info_field >> 31):
        v.f.vm_entry_intr_info_field &= 0x7fffffff
    save_guest_msrs(vp, v)
    if unlikely(rare):
        rare_exit_work(vp, v)
    if page != NULL:
        l0_write_back(page, v)
        vp.counters.bytes_written_back += L0_WRITE_BACK_BYTES
    load_host_state(vp, v)
    if unlikely(rare):
        load_host_lists(vp, v)
    record_exit(vp, v)
    vp.counters.exits += 1
