# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u32
from kvm_vmx.l0.state cimport l0_vp

# Does an access of L2 to an MSR exit to L1?
cdef bint msr_exits(l0_vp *vp, u32 msr, bint write) noexcept nogil
