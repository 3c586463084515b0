# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.l0.state cimport l0_vp, l2_insn

cdef int in_out(l0_vp *vp, const l2_insn *insn) noexcept nogil
cdef int string_in_out(l0_vp *vp, const l2_insn *insn) noexcept nogil
