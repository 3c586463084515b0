# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u64
from kvm_vmx.l0.hypercall cimport call_t
from kvm_vmx.l0.state cimport l0_vp

cdef enum:
    # the forms of a set of processors
    SET_SPARSE = 0
    SET_ALL = 1

# Is a number in the set? bank holds the quadwords of the banks that mask names, in order.
cdef bint in_set(u64 format, u64 mask, const u64 *bank, u64 number) noexcept nogil
# Both return the status, and leave in call how many repetitions are done.
cdef u64 flush_virtual(l0_vp *vp, call_t *call) noexcept nogil
cdef u64 flush_guest_physical(l0_vp *vp, call_t *call) noexcept nogil
