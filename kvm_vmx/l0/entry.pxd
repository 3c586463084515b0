# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u64
from kvm_vmx.abi.virt_cpu cimport insn_t, virt_cpu
from kvm_vmx.l0.state cimport l0_vp

# Only where L2 is stopped.
cdef insn_t l0_go_on(l0_vp *vp) noexcept nogil
cdef insn_t l0_vmentry(virt_cpu *cpu, u64 *regs, bint launch) noexcept nogil
