# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u8, u32, u64
from kvm_vmx.l0.state cimport l0_vp

# What an access to guest-physical memory is for: the walk of a linear address, its operand, or
# neither (the PDPTEs that MOV to CR3 loads).
cdef enum:
    GUEST_TABLE = 0
    OPERAND = 1
    NO_LINEAR = 2

# The host address of an L2 GPA, or NULL with the exit filled in. kind: L2_READ, _WRITE, _FETCH.
cdef u8 *guest_memory(l0_vp *vp, u64 gpa, u64 linear, u32 kind, u32 purpose) noexcept nogil
# The page that stands for memory that is not there.
cdef bint is_open_bus(const u8 *page) noexcept nogil
