# SPDX-License-Identifier: GPL-2.0-only
# C: kernel/jump_label.c
from kvm_vmx.abi.linux cimport jump_entry_t, module_t, static_key_false, static_key_t, static_key_true

cdef int jump_label_init() noexcept nogil
cdef void jump_label_host(bint has_sync_core, bint has_text_writing) noexcept nogil
cdef int jump_label_add_module(module_t *mod) noexcept nogil
cdef void jump_label_del_module(module_t *mod) noexcept nogil
cdef int jump_label_take_error() noexcept nogil
cdef int jump_label_nr_modules() noexcept nogil
cdef module_t *jump_label_module(int index) noexcept nogil

cdef int static_key_enable(static_key_t *key) noexcept nogil
cdef int static_key_disable(static_key_t *key) noexcept nogil
cdef void text_hold() noexcept nogil
cdef void text_let_go() noexcept nogil
cdef int jump_label_form(module_t *mod, static_key_t *key, bint by_trap) noexcept nogil
cdef int text_poke(void *addr, const void *opcode, size_t size) noexcept nogil
cdef void static_key_slow_inc(static_key_t *key) noexcept nogil
cdef void static_key_slow_dec(static_key_t *key) noexcept nogil

# C+ a macro of linux/jump_label.h
cdef inline int static_branch_enable(static_key_false *key) noexcept nogil:
    return static_key_enable(&key.key)

# C+ a macro of linux/jump_label.h
cdef inline int static_branch_disable(static_key_false *key) noexcept nogil:
    return static_key_disable(&key.key)
