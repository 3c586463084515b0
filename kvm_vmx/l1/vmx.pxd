# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/kvm/vmx.c
from kvm_vmx.abi.linux cimport module_t

cdef module_t vmx_module
cdef bint enable_evmcs_is_on() noexcept nogil
