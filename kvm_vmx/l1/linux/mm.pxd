# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.linux cimport page_t
from kvm_vmx.abi.types cimport u8, u64, ulong
from kvm_vmx.abi.virt_cpu cimport phys_mem

cdef int mm_init(const phys_mem *mem, u8 *vmalloc_window) noexcept nogil
cdef void mm_exit() noexcept nogil
cdef bint is_page(u64 pa) noexcept nogil
cdef u64 mm_pages_outstanding() noexcept nogil
cdef u64 mm_objects_outstanding() noexcept nogil

cdef page_t *__alloc_pages_node(int node, int gfp, int order) noexcept nogil
cdef page_t *alloc_page(int gfp) noexcept nogil
cdef ulong __get_free_page(int gfp) noexcept nogil
cdef void free_pages(ulong address, int order) noexcept nogil
cdef void free_page(ulong address) noexcept nogil
cdef void clear_pages(void *first, u64 size) noexcept nogil
cdef void *__vmalloc(ulong size, int gfp) noexcept nogil
cdef void vfree_pages(void *address) noexcept nogil
cdef void *kmalloc(size_t size, int gfp) noexcept nogil
cdef void *kzalloc(size_t size, int gfp) noexcept nogil
cdef void *kmalloc_array(size_t n, size_t size, int gfp) noexcept nogil
cdef void *kcalloc(size_t n, size_t size, int gfp) noexcept nogil
cdef void kfree(const void *object) noexcept nogil
cdef void *vzalloc(ulong size) noexcept nogil
cdef void vfree(const void *object) noexcept nogil
