# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/include/asm/mshyperv.h
from kvm_vmx.abi.types cimport u32
from kvm_vmx.l1.crash cimport pt_regs

ctypedef struct ms_hyperv_info:
    u32 features
    u32 misc_features
    u32 hints
    u32 nested_features

    u32 max_vp_index
    u32 max_lp_index

cdef ms_hyperv_info ms_hyperv
cdef bint x86_hyper_type_ms_hyperv

cdef void hv_setup_kexec_handler(void (*handler)() noexcept nogil) noexcept nogil
cdef void hv_setup_crash_handler(void (*handler)(pt_regs *regs) noexcept nogil) noexcept nogil
cdef enum:
    X86_HYPER_MS_HYPERV = 2

cdef inline bint hypervisor_is_type(int type) noexcept nogil:
    # C~ x86_hyper_type: there is this hypervisor or none
    return x86_hyper_type_ms_hyperv and type == X86_HYPER_MS_HYPERV

cdef void init_hypervisor_platform() noexcept nogil
