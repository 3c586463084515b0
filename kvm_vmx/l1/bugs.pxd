# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/include/asm/spec-ctrl.h
from kvm_vmx.abi.processor cimport (
    MSR_IA32_PRED_CMD, PRED_CMD_IBPB, SPEC_CTRL_IBRS, SPEC_CTRL_SSBD, SPEC_CTRL_STIBP)
from kvm_vmx.abi.types cimport u64

cdef void check_bugs() noexcept nogil
cdef void x86_virt_spec_ctrl(u64 guest_spec_ctrl, u64 guest_virt_spec_ctrl, bint setguest) noexcept nogil


cdef inline void x86_spec_ctrl_set_guest(u64 guest_spec_ctrl, u64 guest_virt_spec_ctrl) noexcept nogil:
    x86_virt_spec_ctrl(guest_spec_ctrl, guest_virt_spec_ctrl, True)


cdef inline void x86_spec_ctrl_restore_host(u64 guest_spec_ctrl, u64 guest_virt_spec_ctrl) noexcept nogil:
    x86_virt_spec_ctrl(guest_spec_ctrl, guest_virt_spec_ctrl, False)
