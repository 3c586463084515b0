# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u32, u64
from kvm_vmx.abi.virt_cpu cimport insn_t
from kvm_vmx.l0.state cimport l0_vp

cdef void synic_reset(l0_vp *vp) noexcept nogil
cdef bint synic_has(u32 msr) noexcept nogil
cdef insn_t synic_read(l0_vp *vp, u32 msr, u64 *value) noexcept nogil
cdef insn_t synic_write(l0_vp *vp, u32 msr, u64 value) noexcept nogil
# A synthetic interrupt source fires; is its vector now pending?
cdef bint synic_signal(l0_vp *vp, u32 source) noexcept nogil
