# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u32, u64
from kvm_vmx.l0.state cimport l0_vp, l2_insn

cdef int rdmsr_insn(l0_vp *vp, const l2_insn *insn) noexcept nogil
cdef int wrmsr_insn(l0_vp *vp, const l2_insn *insn) noexcept nogil
cdef int rdtsc_insn(l0_vp *vp, const l2_insn *insn, bint with_aux) noexcept nogil
cdef int rdpmc_insn(l0_vp *vp, const l2_insn *insn) noexcept nogil
# The task priority that the virtual-APIC page holds, where there is one.
cdef u64 read_priority(l0_vp *vp) noexcept nogil
cdef int write_priority(l0_vp *vp, u64 value) noexcept nogil
