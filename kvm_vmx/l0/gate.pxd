# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u32
from kvm_vmx.l0.state cimport l0_vp

# Call the handler of an event; length: how far RIP moves first, for a software event.
cdef int through_gate(l0_vp *vp, u32 info, u32 error, u32 length) noexcept nogil
