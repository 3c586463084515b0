# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u8, u32, u64
from kvm_vmx.l0.state cimport l0_vp

# An enlightened entry is about to read page, whose clean bits it may rely on.
cdef void watch_entry(l0_vp *vp, const u8 *page, u32 clean) noexcept nogil
# L1 continues: from here on what stands in page is what L1 changes.
cdef void watch_exit(l0_vp *vp, const u8 *page) noexcept nogil
# VMCLEAR of a page that may be active elsewhere.
cdef void watch_vmclear(l0_vp *vp, u64 pa) noexcept nogil
