# SPDX-License-Identifier: GPL-2.0-only
# From linear addresses of L2 to memory: its page tables, then the EPT, behind a small TLB.
from kvm_vmx.abi.types cimport likely, u8, u32, u64
from kvm_vmx.abi.vmx cimport SECONDARY_EXEC_ENABLE_VPID
from kvm_vmx.l0.state cimport *

cdef enum:
    # vp.fault.vector where the walk has made a VM exit instead
    NO_VECTOR = 0x100

cdef u8 *walk(l0_vp *vp, u64 linear, u32 right) noexcept nogil
cdef void flush_translations(l0_vp *vp) noexcept nogil
cdef void flush_guest_physical(l0_vp *vp) noexcept nogil
cdef void flush_address(l0_vp *vp, u64 linear) noexcept nogil
# The four PDPTEs of PAE paging, from memory: 0, or how that fails.
cdef int load_pdptes(l0_vp *vp, u64 cr3) noexcept nogil
cdef void new_context(l0_vp *vp) noexcept nogil
# An exit of a given kind with nothing else in it yet.
cdef void leave(l0_vp *vp, u32 reason, u32 length, u64 qualification) noexcept nogil

# The same in line. Whoever calls it need not leave: L1 sees none of it before an exit, and the
# exit that comes writes all of it again.
cdef inline void note_exit(l0_vp *vp, u32 reason, u32 length, u64 qualification) noexcept nogil:
    cdef l0_vmcs *v = vp.vmcs

    v.f.vm_exit_reason = reason
    v.f.vm_exit_intr_info = 0
    v.f.vm_exit_intr_error_code = 0
    v.f.idt_vectoring_info_field = 0
    v.f.idt_vectoring_error_code = 0
    v.f.vm_exit_instruction_len = length
    v.f.vmx_instruction_info = 0
    v.f.exit_qualification = qualification
    v.f.guest_linear_address = 0
    v.f.guest_physical_address = 0
    vp.fault.vector = NO_VECTOR

cdef inline u32 fetch_right(const l0_vp *vp) noexcept nogil:
    return L2_FETCH << L2_USER if vp.cpl2 == 3 else L2_FETCH

cdef inline u8 *translate(l0_vp *vp, u64 linear, u32 right) noexcept nogil:
    # The page that holds linear; NULL where it faults: vp.fault has a vector, or the VMCS says why it leaves.
    cdef l2_tlb_entry *entry = &vp.tlb[(linear >> 12) & (L2_TLB_ENTRIES - 1)]

    if likely(entry.tag & (~<u64>0xfff | right) == linear & ~<u64>0xfff | right):
        return entry.host
    return walk(vp, linear, right)

cdef inline void translations_current(l0_vp *vp) noexcept nogil:
    # Entries made under another EPT, CR3, VPID or mode are not for this entry.
    cdef const l0_vmcs *v = vp.vmcs
    cdef u64 differs = (
        vp.tlb_context[0] ^ v.f.ept_pointer | vp.tlb_context[1] ^ v.f.guest_cr3 |
        vp.tlb_context[2] ^ (<u64>v.f.virtual_processor_id << 32 | v.f.secondary_vm_exec_control) |
        vp.tlb_context[3] ^ (v.f.guest_cr0 | v.f.guest_cr4 << 32) |
        vp.tlb_context[4] ^ vp.efer |
        ~<u64>v.f.secondary_vm_exec_control & SECONDARY_EXEC_ENABLE_VPID)

    if not likely(differs == 0):
        new_context(vp)
