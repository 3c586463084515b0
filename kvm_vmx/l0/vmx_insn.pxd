# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u64
from kvm_vmx.abi.virt_cpu cimport insn_t, virt_cpu
from kvm_vmx.l0.state cimport l0_vp

cdef insn_t l0_vmxon(virt_cpu *cpu, u64 pa) noexcept nogil
cdef insn_t l0_vmxoff(virt_cpu *cpu) noexcept nogil
cdef insn_t l0_vmclear(virt_cpu *cpu, u64 pa) noexcept nogil
cdef insn_t l0_vmptrld(virt_cpu *cpu, u64 pa) noexcept nogil
cdef insn_t l0_vmptrst(virt_cpu *cpu, u64 *pa) noexcept nogil
cdef insn_t l0_vmread(virt_cpu *cpu, u64 field, u64 *value) noexcept nogil
cdef insn_t l0_vmwrite(virt_cpu *cpu, u64 field, u64 value) noexcept nogil
cdef insn_t l0_invept(virt_cpu *cpu, u64 type, u64 eptp, u64 gpa) noexcept nogil
cdef insn_t l0_invvpid(virt_cpu *cpu, u64 type, u64 vpid, u64 gla) noexcept nogil

# The current plain VMCS goes back to its page, and none is current any more.
cdef void release_plain(l0_vp *vp) noexcept nogil
