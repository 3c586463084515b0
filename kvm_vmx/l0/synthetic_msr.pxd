# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u32, u64
from kvm_vmx.abi.virt_cpu cimport insn_t
from kvm_vmx.l0.state cimport l0_vp

cdef insn_t synthetic_read(l0_vp *vp, u32 msr, u64 *value) noexcept nogil
cdef insn_t synthetic_write(l0_vp *vp, u32 msr, u64 value) noexcept nogil
