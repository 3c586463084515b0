# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u32
from kvm_vmx.l0.state cimport l0_vp

# Each returns True where L2 goes on, False where it leaves.
# An event through the guest's IDT: interruption information, error code, instruction length.
cdef bint deliver(l0_vp *vp, u32 info, u32 error, u32 length) noexcept nogil
# The exception in vp.fault: intercepted by L1, or delivered.
cdef bint raise_fault(l0_vp *vp) noexcept nogil
# INT3 and INTO, INT1, or INT n, whose instruction has `length` bytes.
cdef bint raise_software(l0_vp *vp, u32 kind, u32 vector, u32 length) noexcept nogil
# A debug exception that is a trap, with the bits of DR6.
cdef bint raise_debug_trap(l0_vp *vp, u32 what) noexcept nogil
