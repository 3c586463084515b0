# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u64
from kvm_vmx.l0.hypercall cimport call_t
from kvm_vmx.l0.state cimport l0_vp

# The calls that send an interrupt to a set of processors; the status.
cdef u64 send_interrupts(l0_vp *vp, const call_t *call, bint extended) noexcept nogil
