# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u32, u64
from kvm_vmx.l0.state cimport l0_vp

# Load the MSRs of a list: 0, or the 1-based number of the entry that cannot be loaded.
cdef u32 load_msr_list(l0_vp *vp, u64 gpa, u32 count) noexcept nogil
# Store the MSRs that a list names; False where one cannot be stored.
cdef bint store_msr_list(l0_vp *vp, u64 gpa, u32 count) noexcept nogil
