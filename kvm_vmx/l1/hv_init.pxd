# SPDX-License-Identifier: GPL-2.0-only
# C: arch/x86/hyperv/hv_init.c
from kvm_vmx.abi.hyperv_tlfs cimport hv_vp_assist_page as hv_vp_assist_page_t
from kvm_vmx.abi.types cimport u32, u64

cdef hv_vp_assist_page_t **hv_vp_assist_page
cdef u32 *hv_vp_index
cdef u32 hv_max_vp_index
cdef void *hv_hypercall_pg

cdef inline hv_vp_assist_page_t *hv_get_vp_assist_page(unsigned int cpu) noexcept nogil:
    if not hv_vp_assist_page:
        return NULL

    return hv_vp_assist_page[cpu]

cdef u64 hv_do_hypercall(u64 control, void *input, void *output) noexcept nogil
cdef int hyperv_flush_guest_mapping(u64 as_) noexcept nogil
cdef void hyperv_init() noexcept nogil
cdef void hyperv_stop_tsc_emulation() noexcept nogil
cdef void hyperv_reenlightenment_intr() noexcept nogil
cdef void set_hv_tscchange_cb(void (*cb)() noexcept nogil) noexcept nogil
cdef void clear_hv_tscchange_cb() noexcept nogil
cdef void hyperv_cleanup() noexcept nogil
cdef void hyperv_shutdown() noexcept nogil
