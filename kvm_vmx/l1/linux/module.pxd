# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.linux cimport module_t

cdef int load_module(module_t *mod) noexcept nogil
cdef int init_module(module_t *mod) noexcept nogil
cdef int delete_module(module_t *mod) noexcept nogil
