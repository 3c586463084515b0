# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.l0.state cimport l0_vp

# Run L2 until it leaves: vp.exit says why.
cdef void guest_run(l0_vp *vp) noexcept nogil
# The same from the boundary on at which L2 was stopped.
cdef void guest_go_on(l0_vp *vp) noexcept nogil
cdef void guest_flush_tlb(l0_vp *vp) noexcept nogil
