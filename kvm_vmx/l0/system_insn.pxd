# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.l0.state cimport l0_vp, l2_insn

# The opcodes behind 0f, but the jumps.
cdef int execute_0f(l0_vp *vp, const l2_insn *insn) noexcept nogil
cdef int halt(l0_vp *vp, const l2_insn *insn) noexcept nogil
