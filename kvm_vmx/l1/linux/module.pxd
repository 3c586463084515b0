# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.linux cimport module_t
from kvm_vmx.abi.types cimport ulong
from kvm_vmx.l1.linux.reboot cimport NOTIFY_OK, notifier_block

cdef enum:
    MODULE_STATE_LIVE = 0
    MODULE_STATE_COMING = 1
    MODULE_STATE_GOING = 2
    NOTIFY_STOP_MASK = 0x8000


cdef inline int notifier_from_errno(int err) noexcept nogil:
    return NOTIFY_STOP_MASK | (NOTIFY_OK - err) if err else NOTIFY_OK


cdef void module_boot_data() noexcept nogil
cdef int register_module_notifier(notifier_block *nb) noexcept nogil
cdef int nr_modules() noexcept nogil
cdef module_t *module_at(int index) noexcept nogil
cdef module_t *__module_address(ulong addr) noexcept nogil
cdef bint kernel_text_address(ulong addr) noexcept nogil
cdef int load_module(module_t *mod) noexcept nogil
cdef int init_module(module_t *mod) noexcept nogil
cdef int delete_module(module_t *mod) noexcept nogil
