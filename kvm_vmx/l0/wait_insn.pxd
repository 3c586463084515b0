# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.l0.state cimport l0_vp, l2_insn

cdef int pause(l0_vp *vp, const l2_insn *insn) noexcept nogil
cdef int monitor(l0_vp *vp, const l2_insn *insn) noexcept nogil
cdef int mwait(l0_vp *vp, const l2_insn *insn) noexcept nogil
