# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u32, u64
from kvm_vmx.l0.state cimport l0_vp, l2_insn

cdef int jump(l0_vp *vp, u64 target, u32 size) noexcept nogil
cdef int call(l0_vp *vp, u64 target, u32 size) noexcept nogil
# JMP, CALL and Jcc with a distance.
cdef int branch(l0_vp *vp, const l2_insn *insn) noexcept nogil
cdef int near_return(l0_vp *vp, const l2_insn *insn) noexcept nogil
cdef int jump_far_indirect(l0_vp *vp, const l2_insn *insn) noexcept nogil
cdef int loop(l0_vp *vp, const l2_insn *insn) noexcept nogil
cdef int interrupt(l0_vp *vp, const l2_insn *insn) noexcept nogil
