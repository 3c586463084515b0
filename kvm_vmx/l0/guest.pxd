# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.l0.state cimport l0_vp

# Run L2 until it leaves: the VMCS says why.
cdef void guest_run(l0_vp *vp) noexcept nogil
cdef void guest_flush_tlb(l0_vp *vp) noexcept nogil
