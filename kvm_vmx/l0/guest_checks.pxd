# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u32, u64
from kvm_vmx.l0.state cimport l0_vmcs, l0_vp

cdef enum:
    GUEST_STATE_OK = -1

# GUEST_STATE_OK, or the exit qualification of the failed entry. What reads no dirty group was
# valid. sticky gets the clean groups
# that hold a reference to memory and must be looked at again at the next entry.
cdef int check_guest_state(l0_vp *vp, const l0_vmcs *v, u32 dirty, u32 *sticky) noexcept nogil
cdef bint guest_rip_valid(const l0_vmcs *v) noexcept nogil
