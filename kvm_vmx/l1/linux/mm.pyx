# SPDX-License-Identifier: GPL-2.0-only
# Memory: pages of the machine's physical memory, and counted objects of the host's heap.
from kvm_vmx.abi.linux cimport __GFP_ZERO, page_t, spin_lock, spin_lock_init, spin_unlock, spinlock_t, BUG_ON
from kvm_vmx.abi.types cimport PAGE_SHIFT, PAGE_SIZE, u8, u32, u64, ulong
from kvm_vmx.abi.virt_cpu cimport phys_mem
from kvm_vmx.l1.linux.fault cimport FAIL_KMALLOC, FAIL_PAGE, FAIL_VMALLOC, should_fail
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

cdef enum:
    MAX_ORDER = 20
    NO_FRAME = 0
    # bytes from which it is worth asking the host for fresh pages
    MANY_PAGES = 8 * 4096

cdef extern from "sys/mman.h" nogil:
    enum:
        MADV_REMOVE
    int madvise(void *address, size_t length, int advice)

# A free block of an order is found by its first frame; frame 0 is never handed out.
cdef u32 free_head[MAX_ORDER + 1]
cdef u32 *free_next = NULL
cdef u8 *block_order = NULL
cdef u32 first_untouched = 1
cdef u32 nr_frames = 0
cdef u64 pages_outstanding = 0
cdef u64 objects_outstanding = 0
cdef u8 *linear_base = NULL
cdef u8 *vmalloc_base = NULL
cdef spinlock_t mm_lock = 0


cdef int mm_init(const phys_mem *mem, u8 *vmalloc_window) noexcept nogil:
    global nr_frames, linear_base, vmalloc_base, free_next, block_order, first_untouched
    global pages_outstanding, objects_outstanding
    spin_lock_init(&mm_lock)
    nr_frames = mem.size >> PAGE_SHIFT
    linear_base = mem.base
    vmalloc_base = vmalloc_window
    free_next = <u32 *>calloc(nr_frames, sizeof(u32))
    block_order = <u8 *>calloc(nr_frames, 1)
    if not free_next or not block_order:
        mm_exit()
        return -1
    memset(free_head, 0, sizeof(free_head))
    first_untouched = 1
    pages_outstanding = 0
    objects_outstanding = 0
    return 0


cdef void mm_exit() noexcept nogil:
    global free_next, block_order
    free(free_next)
    free(block_order)
    free_next = NULL
    block_order = NULL


cdef u64 mm_pages_outstanding() noexcept nogil:
    return pages_outstanding


cdef u64 mm_objects_outstanding() noexcept nogil:
    return objects_outstanding


cdef bint is_page(u64 pa) noexcept nogil:
    # Frame 0 is nobody's, and what lies behind the last one is not the machine's.
    return pa >> PAGE_SHIFT != NO_FRAME and pa >> PAGE_SHIFT < nr_frames


cdef void put_free(u32 frame, int order) noexcept nogil:
    free_next[frame] = free_head[order]
    free_head[order] = frame


cdef u32 take_frames(int order) noexcept nogil:
    # A block of its own size, aligned to it: from the free list, else from untouched memory.
    cdef u32 frame = free_head[order]

    global first_untouched
    if frame != NO_FRAME:
        free_head[order] = free_next[frame]
        return frame
    while first_untouched & ((<u32>1 << order) - 1):
        put_free(first_untouched, 0)
        first_untouched += 1
    if <u64>first_untouched + (<u64>1 << order) > nr_frames:
        return NO_FRAME
    frame = first_untouched
    first_untouched += <u32>1 << order
    return frame


cdef page_t *__alloc_pages_node(int node, int gfp, int order) noexcept nogil:
    cdef u32 frame
    cdef u8 *address

    global pages_outstanding
    if order < 0 or order > MAX_ORDER or should_fail(FAIL_PAGE):
        return NULL
    spin_lock(&mm_lock)
    frame = take_frames(order)
    if frame != NO_FRAME:
        block_order[frame] = order + 1
        pages_outstanding += <u64>1 << order
    spin_unlock(&mm_lock)
    if frame == NO_FRAME:
        return NULL
    address = linear_base + (<u64>frame << PAGE_SHIFT)
    if gfp & __GFP_ZERO:
        memset(address, 0, PAGE_SIZE << order)
    return <page_t *>address


cdef page_t *alloc_page(int gfp) noexcept nogil:
    return __alloc_pages_node(0, gfp, 0)


cdef ulong __get_free_page(int gfp) noexcept nogil:
    return <ulong>alloc_page(gfp)


cdef void free_pages(ulong address, int order) noexcept nogil:
    cdef u64 frame

    global pages_outstanding
    if address == 0:
        return
    frame = (address - <ulong>linear_base) >> PAGE_SHIFT
    BUG_ON(frame >= nr_frames or block_order[frame] != order + 1)
    spin_lock(&mm_lock)
    block_order[frame] = 0
    put_free(<u32>frame, order)
    pages_outstanding -= <u64>1 << order
    spin_unlock(&mm_lock)


cdef void free_page(ulong address) noexcept nogil:
    free_pages(address, 0)


cdef void clear_pages(void *first, u64 size) noexcept nogil:
    # Pages in a row become zero. The host takes many of them back: one that is not touched again
    # costs nothing, and one that is comes as zeros.
    if size < MANY_PAGES or madvise(first, size, MADV_REMOVE) != 0:
        memset(first, 0, size)


cdef void *__vmalloc(ulong size, int gfp) noexcept nogil:
    cdef u8 *address

    if size > PAGE_SIZE or should_fail(FAIL_VMALLOC):
        return NULL
    # Not cleared unless asked for: a page that was in use before still holds what it held.
    address = <u8 *>alloc_page(gfp)
    if not address:
        return NULL
    return vmalloc_base + (address - linear_base)


cdef void vfree_pages(void *address) noexcept nogil:
    if address:
        free_page(<ulong>(linear_base + (<u8 *>address - vmalloc_base)))


cdef void *kmalloc(size_t size, int gfp) noexcept nogil:
    cdef void *object

    global objects_outstanding
    if should_fail(FAIL_KMALLOC):
        return NULL
    object = calloc(1, size) if gfp & __GFP_ZERO else malloc(size)
    if object:
        spin_lock(&mm_lock)
        objects_outstanding += 1
        spin_unlock(&mm_lock)
    return object


cdef void *kzalloc(size_t size, int gfp) noexcept nogil:
    return kmalloc(size, gfp | __GFP_ZERO)


cdef void *kmalloc_array(size_t n, size_t size, int gfp) noexcept nogil:
    return kmalloc(n * size, gfp)


cdef void *kcalloc(size_t n, size_t size, int gfp) noexcept nogil:
    return kmalloc(n * size, gfp | __GFP_ZERO)


cdef void kfree(const void *object) noexcept nogil:
    global objects_outstanding
    if not object:
        return
    spin_lock(&mm_lock)
    objects_outstanding -= 1
    spin_unlock(&mm_lock)
    free(<void *>object)


cdef void *vzalloc(ulong size) noexcept nogil:
    return kmalloc(size, __GFP_ZERO)


cdef void vfree(const void *object) noexcept nogil:
    kfree(object)
