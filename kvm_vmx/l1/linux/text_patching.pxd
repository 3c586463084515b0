# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.linux cimport jump_entry_t, module_t

cdef void text_boot_data() noexcept nogil
cdef void text_host(bint has_sync_core, bint has_text_writing) noexcept nogil
cdef int text_take_error() noexcept nogil
cdef int text_last_error() noexcept nogil
cdef void arch_jump_label_transform(jump_entry_t *entry, int type) noexcept nogil
cdef int arch_jump_label_transform_apply(module_t *mod) noexcept nogil
cdef int text_poke(void *addr, const void *opcode, size_t size) noexcept nogil
