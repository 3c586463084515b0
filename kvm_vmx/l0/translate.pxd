# SPDX-License-Identifier: GPL-2.0-only
# From linear addresses of L2 to memory: its page tables, then the EPT, behind a small TLB.
from kvm_vmx.abi.types cimport likely, u8, u32, u64
from kvm_vmx.l0.state cimport *

cdef const u8 *walk_for_fetch(l0_vp *vp, u64 linear) noexcept nogil
cdef u8 *ept_walk(l0_vp *vp, u64 gpa, u64 linear, u32 access, bint final) noexcept nogil
cdef void flush_translations(l0_vp *vp) noexcept nogil
cdef void translations_current(l0_vp *vp) noexcept nogil

cdef inline const u8 *fetch_page(l0_vp *vp, u64 linear) noexcept nogil:
    # The page that holds the code at linear; NULL where it faults, and vp.exit says how.
    cdef l2_tlb_entry *entry = &vp.tlb[(linear >> 12) & (L2_TLB_ENTRIES - 1)]

    if likely(entry.host != NULL and entry.tag == linear >> 12):
        return entry.host
    return walk_for_fetch(vp, linear)
