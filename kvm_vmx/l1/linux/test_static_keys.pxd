# SPDX-License-Identifier: GPL-2.0-only
# C: lib/test_static_keys.c
from kvm_vmx.abi.linux cimport module_t

cdef module_t test_static_keys_module
cdef void declare_module() noexcept nogil

# Functions that may be called by name from outside.
cdef int test_static_key_init() noexcept nogil
cdef int true_key_true() noexcept nogil
cdef int true_key_false() noexcept nogil
cdef int false_key_true() noexcept nogil
cdef int false_key_false() noexcept nogil
cdef int true_key_count() noexcept nogil
cdef int false_key_count() noexcept nogil
cdef void true_key_enable() noexcept nogil
cdef void true_key_disable() noexcept nogil
cdef void true_key_inc() noexcept nogil
cdef void true_key_dec() noexcept nogil
cdef void false_key_enable() noexcept nogil
cdef void false_key_disable() noexcept nogil
cdef void false_key_inc() noexcept nogil
cdef void false_key_dec() noexcept nogil
