# SPDX-License-Identifier: GPL-2.0-only
# The L2 processor: a decoder of the instructions that matter here.
from kvm_vmx.l0.state cimport l0_vp


cdef void guest_run(l0_vp *vp) noexcept nogil:
    pass


cdef void guest_flush_tlb(l0_vp *vp) noexcept nogil:
    pass
