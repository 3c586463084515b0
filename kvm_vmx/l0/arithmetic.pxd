# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u32, u64
from kvm_vmx.l0.state cimport l0_vp, l2_insn

cdef enum:
    # the operations in the order of their encoding
    ALU_ADD = 0
    ALU_OR = 1
    ALU_ADC = 2
    ALU_SBB = 3
    ALU_AND = 4
    ALU_SUB = 5
    ALU_XOR = 6
    ALU_CMP = 7

# The result, and the arithmetic flags into RFLAGS.
cdef u64 alu(l0_vp *vp, u32 operation, u64 a, u64 b, u32 size) noexcept nogil
cdef int arithmetic(l0_vp *vp, const l2_insn *insn) noexcept nogil
cdef int immediate_group(l0_vp *vp, const l2_insn *insn) noexcept nogil
cdef int unary_group(l0_vp *vp, const l2_insn *insn) noexcept nogil
cdef int inc_dec_rm(l0_vp *vp, const l2_insn *insn, bint dec) noexcept nogil
cdef void inc_dec_register(l0_vp *vp, const l2_insn *insn, u32 number, bint dec) noexcept nogil
cdef bint condition(u64 flags, u32 code) noexcept nogil
