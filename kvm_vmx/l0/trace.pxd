# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u64
from kvm_vmx.l0.state cimport l0_vp

# Keep a record of each instruction of L1, the last size of them; False without memory.
cdef bint trace_start(l0_vp *vp, u64 size) noexcept nogil
cdef void trace_stop(l0_vp *vp) noexcept nogil
