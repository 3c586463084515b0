# SPDX-License-Identifier: GPL-2.0-only
# C: kernel/jump_label.c
from kvm_vmx.abi.linux cimport module_t, static_key_false, static_key_t, static_key_true

cdef void jump_label_boot_data() noexcept nogil
cdef void jump_label_init() noexcept nogil
cdef int jump_label_init_module() noexcept nogil
cdef void static_key_enable(static_key_t *key) noexcept nogil
cdef void static_key_disable(static_key_t *key) noexcept nogil
cdef void static_key_slow_inc(static_key_t *key) noexcept nogil
cdef void static_key_slow_dec(static_key_t *key) noexcept nogil
cdef void text_hold() noexcept nogil
cdef void text_let_go() noexcept nogil
cdef int jump_label_form(module_t *mod, static_key_t *key, bint by_trap) noexcept nogil

# C+ a macro of linux/jump_label.h
cdef inline void static_branch_enable(static_key_false *key) noexcept nogil:
    static_key_enable(&key.key)

# C+ a macro of linux/jump_label.h
cdef inline void static_branch_disable(static_key_false *key) noexcept nogil:
    static_key_disable(&key.key)
