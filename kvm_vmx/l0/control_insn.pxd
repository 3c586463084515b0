# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.l0.state cimport l0_vp, l2_insn

cdef int mov_control(l0_vp *vp, const l2_insn *insn) noexcept nogil
cdef int mov_debug(l0_vp *vp, const l2_insn *insn) noexcept nogil
cdef int clear_task_switched(l0_vp *vp, const l2_insn *insn) noexcept nogil
cdef int load_machine_status(l0_vp *vp, const l2_insn *insn) noexcept nogil
cdef int store_machine_status(l0_vp *vp, const l2_insn *insn) noexcept nogil
