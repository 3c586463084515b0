# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u32, u64
from kvm_vmx.l0.state cimport l0_vp, l2_insn

cdef int interrupt_return(l0_vp *vp, const l2_insn *insn) noexcept nogil
cdef int far_return(l0_vp *vp, const l2_insn *insn) noexcept nogil
cdef int far_jump(l0_vp *vp, u32 selector, u64 offset) noexcept nogil
# RFLAGS as IRET and POPF may write them, from a value of `size` bytes.
cdef void write_flags(l0_vp *vp, u64 value, u32 size, u64 more) noexcept nogil
