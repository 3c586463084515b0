# SPDX-License-Identifier: GPL-2.0-only
# Stands in for arch/x86/kvm/mmu.c: an EPT built once with the VM over its memory.
from kvm_vmx.abi.linux cimport GFP_KERNEL, __GFP_ZERO, __pa, __va
from kvm_vmx.abi.types cimport EEXIST, EFAULT, EINVAL, ENOMEM, PAGE_MASK, PAGE_SIZE, likely, u8, u64, ulong
from kvm_vmx.l1.kvm_cache_regs cimport kvm_x86_ops
from kvm_vmx.l1.kvm_host cimport kvm_t, kvm_vcpu_t
from kvm_vmx.l1.linux.mm cimport __get_free_page, free_page
from libc.string cimport memcpy

cdef enum:
    EPT_RWX = 7
    EPT_WRITE_BACK = 6 << 3
    EPT_IGNORE_PAT = 1 << 6

cdef extern from *:
    """
    #define INVALID_ROOT (~0ULL)
    """
    const u64 INVALID_ROOT


cdef u64 *entry_of(kvm_t *kvm, u64 gpa, bint build) noexcept nogil:
    # The last-level entry of gpa; tables on the way are allocated where build asks for them.
    cdef u64 *table = <u64 *>__va(kvm.arch.ept_root)
    cdef u64 *entry
    cdef ulong page
    cdef int level

    for level in range(3, 0, -1):
        entry = &table[(gpa >> (12 + 9 * level)) & 511]
        if not entry[0]:
            if not build:
                return NULL
            page = __get_free_page(GFP_KERNEL | __GFP_ZERO)
            if not page:
                return NULL
            entry[0] = __pa(<void *>page) | EPT_RWX
        table = <u64 *>__va(entry[0] & PAGE_MASK)
    return &table[(gpa >> 12) & 511]


cdef int build_guest_memory(kvm_t *kvm, u64 size) noexcept nogil:
    # size bytes of zeroed memory at GPA 0, read-write-execute, write-back.
    cdef u64 gpa = 0
    cdef u64 *entry
    cdef ulong page

    if size == 0 or size & (PAGE_SIZE - 1):
        return -EINVAL
    page = __get_free_page(GFP_KERNEL | __GFP_ZERO)
    if not page:
        return -ENOMEM
    kvm.arch.ept_root = __pa(<void *>page)
    kvm.arch.memory_size = size
    while gpa < size:
        entry = entry_of(kvm, gpa, True)
        page = __get_free_page(GFP_KERNEL | __GFP_ZERO) if entry else 0
        if not page:
            free_guest_memory(kvm)
            return -ENOMEM
        entry[0] = __pa(<void *>page) | EPT_RWX | EPT_WRITE_BACK | EPT_IGNORE_PAT
        gpa += PAGE_SIZE
    return 0


cdef int x86_set_memory_region(kvm_t *kvm, u64 gpa) noexcept nogil:
    # A zeroed page of KVM's own at a GPA of the guest, outside the memory that user space gave it.
    cdef u64 *entry
    cdef ulong page

    if gpa < kvm.arch.memory_size:
        return -EEXIST
    entry = entry_of(kvm, gpa, True)
    page = __get_free_page(GFP_KERNEL | __GFP_ZERO) if entry else 0
    if not page:
        return -ENOMEM
    entry[0] = __pa(<void *>page) | EPT_RWX | EPT_WRITE_BACK | EPT_IGNORE_PAT
    return 0


cdef u8 *private_page(kvm_t *kvm, u64 gpa) noexcept nogil:
    return <u8 *>__va(entry_of(kvm, gpa, False)[0] & <u64>0x000ffffffffff000)


cdef void free_table(u64 pa, int level) noexcept nogil:
    # Depth first; level 0 is a page of the guest's memory.
    cdef u64 *table = <u64 *>__va(pa)
    cdef int i

    if level > 0:
        for i in range(512):
            if table[i]:
                free_table(table[i] & <u64>0x000ffffffffff000, level - 1)
    free_page(<ulong>table)


cdef void free_guest_memory(kvm_t *kvm) noexcept nogil:
    if kvm.arch.ept_root == 0:
        return
    free_table(kvm.arch.ept_root, 4)
    kvm.arch.ept_root = 0


cdef u8 *guest_page(kvm_t *kvm, u64 gpa) noexcept nogil:
    # The page of L1's memory behind a GPA of the guest, or NULL.
    cdef u64 *entry

    if gpa >= kvm.arch.memory_size:
        return NULL
    entry = entry_of(kvm, gpa, False)
    return <u8 *>__va(entry[0] & <u64>0x000ffffffffff000) if entry and entry[0] else NULL


cdef u8 *replace_guest_page(kvm_t *kvm, u64 gpa, int *err) noexcept nogil:
    # What reclaim and migration do to a page: another frame with the same bytes. The old frame
    # is the caller's, to be freed once no TLB leads to it.
    cdef u64 *entry
    cdef u8 *old = guest_page(kvm, gpa)
    cdef u8 *new

    err[0] = -EFAULT
    if old == NULL:
        return NULL
    err[0] = -ENOMEM
    new = <u8 *>__get_free_page(GFP_KERNEL)
    if new == NULL:
        return NULL
    err[0] = 0
    memcpy(new, old, PAGE_SIZE)
    entry = entry_of(kvm, gpa, False)
    entry[0] = __pa(new) | entry[0] & ~<u64>0x000ffffffffff000
    return old


cdef int kvm_mmu_reload(kvm_vcpu_t *vcpu) noexcept nogil:
    if likely(vcpu.arch.mmu.root_hpa != INVALID_ROOT):
        return 0

    vcpu.arch.mmu.root_hpa = vcpu.kvm.arch.ept_root
    kvm_x86_ops.set_tdp_cr3(vcpu, vcpu.arch.mmu.root_hpa)
    return 0
