# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.l0.state cimport l0_vp, l2_insn

# SLDT STR LLDT LTR, and SGDT SIDT LGDT LIDT.
cdef int table_group_0(l0_vp *vp, const l2_insn *insn) noexcept nogil
cdef int table_group_1(l0_vp *vp, const l2_insn *insn) noexcept nogil
