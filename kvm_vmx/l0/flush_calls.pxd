# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u64
from kvm_vmx.l0.hypercall cimport call_t
from kvm_vmx.l0.state cimport l0_vp

# Both return the status, and leave in call how many repetitions are done.
cdef u64 flush_virtual(l0_vp *vp, call_t *call) noexcept nogil
cdef u64 flush_guest_physical(l0_vp *vp, call_t *call) noexcept nogil
