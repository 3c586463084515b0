# SPDX-License-Identifier: GPL-2.0-only
# The enlightened VMCS at VM entry: which one, and what of it is read again.
from kvm_vmx.abi.hyperv_tlfs cimport (
    HV_X64_MSR_VP_ASSIST_PAGE_ENABLE, hv_enlightened_vmcs, hv_vp_assist_page,
)
from kvm_vmx.abi.types cimport likely, u8, u16, u32, u64, unlikely
from kvm_vmx.abi.virt_cpu cimport insn_t
from kvm_vmx.l0.layout cimport L0_UNGROUPED_BYTES, l0_counts_are_zero, l0_flags, l0_reload_live
from kvm_vmx.l0.state cimport l0_vp, phys_page

cdef enum:
    CLEAN_ALL = 0xffff
    # guest_rip and tpr_threshold
    LIVE_BYTES = 12

# No eVMCS is active any more, and the copy of it is worth nothing.
cdef void enlightened_release(l0_vp *vp) noexcept nogil
# The copy is worth nothing, but the eVMCS stays active: page and clean bits are all there is.
cdef void enlightened_forget(l0_vp *vp) noexcept nogil
# The page of an eVMCS that is to become active, or that VMLAUNCH makes L0 read anew.
cdef u8 *enlightened_activate(l0_vp *vp, u64 pointer, insn_t *status) noexcept nogil
# Read the dirty groups, as the cache policy has it, and with them the enlightened MSR bitmap.
cdef void enlightened_reload(l0_vp *vp, const u8 *page, u32 clean) noexcept nogil
# One of the counts without a clean group is not zero.
cdef void enlightened_counts(l0_vp *vp) noexcept nogil

# Is the next entry enlightened? The assist page is sampled at the instruction (R24, R25).
cdef inline bint enlightened_pointer(l0_vp *vp, u64 *pointer) noexcept nogil:
    cdef hv_vp_assist_page *assist

    if not vp.assist_msr & HV_X64_MSR_VP_ASSIST_PAGE_ENABLE:
        return False
    assist = <hv_vp_assist_page *>phys_page(vp.cpu.mem, vp.assist_msr)
    # the switch is one byte; the bytes behind it are reserved
    if assist == NULL or not (<u8 *>&assist.enlighten_vmentry)[0]:
        return False
    pointer[0] = assist.current_nested_vmcs
    # K9: -1 and -2 mean none
    return pointer[0] < ~<u64>1

# The page of the eVMCS to enter with, or NULL and why there is none; the same one as last time
# is the short way.
cdef inline u8 *enlightened_page(
        l0_vp *vp, u64 pointer, bint launch, insn_t *status) noexcept nogil:
    cdef u8 *page

    if likely(pointer == vp.active_evmcs and not launch):
        page = phys_page(vp.cpu.mem, pointer)
        if likely(page != NULL):
            return page
    return enlightened_activate(vp, pointer, status)

cdef inline void enlightened_refresh(l0_vp *vp, u8 *page, bint unusual) noexcept nogil:
    cdef u32 found = (<hv_enlightened_vmcs *>page).hv_clean_fields
    cdef u32 clean = found & vp.valid_groups
    cdef u32 flags = l0_flags(&vp.copy)

    # for whoever watches: no decision looks at the copy of it
    vp.copy.f.hv_clean_fields = found
    l0_reload_live(&vp.copy, page)
    if unlikely(<u16>clean != CLEAN_ALL or unusual or flags != l0_flags(&vp.copy)):
        enlightened_reload(vp, page, clean)
    vp.counters.bytes_reread += LIVE_BYTES
    vp.counters.bytes_ungrouped += L0_UNGROUPED_BYTES
    if unlikely(not l0_counts_are_zero(&vp.copy)):
        enlightened_counts(vp)
