# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u16, u32, u64
from kvm_vmx.l0.state cimport l0_vp

# A segment register with its hidden part.
ctypedef struct l2_segment:
    u32 selector
    u32 rights          # as the VMCS has them
    u32 limit
    u64 base
    u64 place           # linear address of the descriptor

cdef enum:
    TYPE_ACCESSED = 1
    TYPE_WRITABLE = 2
    TYPE_READABLE = 2
    TYPE_CONFORMING = 4
    TYPE_CODE = 8

# The descriptor that a selector names; `vector` with the selector where there is none.
cdef int fetch_descriptor(l0_vp *vp, u32 selector, u32 vector, u32 external, l2_segment *d) \
    noexcept nogil
cdef int mark_accessed(l0_vp *vp, l2_segment *d) noexcept nogil
# MOV to a segment register, and POP.
cdef int load_segment(l0_vp *vp, u32 number, u32 selector) noexcept nogil
cdef void set_segment(l0_vp *vp, u32 number, const l2_segment *d) noexcept nogil
cdef void get_segment(l0_vp *vp, u32 number, l2_segment *d) noexcept nogil
cdef void set_plain_segment(l0_vp *vp, u32 number, u32 selector) noexcept nogil
cdef void set_null_stack(l0_vp *vp, u32 privilege) noexcept nogil
# LLDT and LTR.
cdef int load_system_segment(l0_vp *vp, u32 number, u32 selector) noexcept nogil
# A stack segment for a privilege level, in the code of a fault's vector.
cdef int check_stack(l0_vp *vp, u32 selector, u32 level, u32 vector, u32 external,
                     l2_segment *d) noexcept nogil
