# SPDX-License-Identifier: GPL-2.0-only
# Stands in for arch/x86/kvm/mmu.c: an EPT built once with the VM over its memory.
from kvm_vmx.abi.linux cimport GFP_KERNEL, __GFP_ZERO, __pa, __va
from kvm_vmx.abi.types cimport EEXIST, EFAULT, EINVAL, ENOMEM, PAGE_SIZE, likely, u8, u64, ulong
from kvm_vmx.l1.kvm_cache_regs cimport kvm_x86_ops
from kvm_vmx.l1.kvm_host cimport kvm_t, kvm_vcpu_t
from kvm_vmx.l1.kvm_main cimport kvm_flush_remote_tlbs
from kvm_vmx.l1.linux.mm cimport (
    __get_free_page, clear_pages, free_page, is_page, kfree, kmalloc)
from libc.string cimport memcpy

cdef enum:
    # how a walk takes what it finds
    WALK
    BUILD
    LOOK

cdef enum:
    EPT_RWX = 7
    EPT_WRITE_BACK = 6 << 3
    EPT_IGNORE_PAT = 1 << 6

cdef extern from *:
    """
    #define INVALID_ROOT (~0ULL)
    #define EPT_FRAME 0x000ffffffffff000ULL
    #define EPT_ACCESSED_DIRTY (3ULL << 8)
    typedef volatile u64 volatile_u64;
    typedef volatile int volatile_int;
    """
    const u64 INVALID_ROOT
    const u64 FRAME "EPT_FRAME"
    const u64 EPT_FLAGS "EPT_ACCESSED_DIRTY"
    ctypedef u64 volatile_u64
    ctypedef int volatile_int
    u64 and_entry "__sync_and_and_fetch"(u64 *entry, u64 mask) nogil

# A frame that the guest may still reach by a stale translation.
ctypedef struct stale_page:
    ulong page
    stale_page *next


cdef extern from "linux/bug.h" nogil:
    void BUG_MSG(const char *fmt, ...)

cdef extern from "linux/sched.h" nogil:
    void local_irq_disable()
    void local_irq_enable()

cdef extern from "sched.h" nogil:
    int sched_yield()

cdef extern from *:
    """
    #define are_irqs_off() this_cpu_read(irqs_disabled)
    """
    bint are_irqs_off() nogil
    int add_users "__sync_add_and_fetch"(int *users, int change) nogil


cdef inline bint is_table(u64 entry) noexcept nogil:
    # All that this file makes leads to a page of the machine's memory, with every right.
    return entry & EPT_RWX == EPT_RWX and is_page(entry & FRAME)


cdef void *page_behind(u64 entry, const char *function) noexcept nogil:
    # The tables lie in memory that devices and a guest gone wrong can reach.
    if not is_page(entry & FRAME):
        BUG_MSG("unable to handle kernel paging request: %s() found %lx in the EPT",
                function, <ulong>entry)
    return __va(entry & FRAME)


cdef u64 *entry_of(kvm_t *kvm, u64 gpa, int how) noexcept nogil:
    # The last-level entry of gpa. Where a table is missing it is allocated, or the answer is
    # NULL; where an entry leads nowhere this is a BUG, unless it is LOOKed at only.
    cdef u64 *table = <u64 *>__va(kvm.arch.ept_root)
    cdef u64 *entry
    cdef ulong page
    cdef int level

    for level in range(3, 0, -1):
        entry = &table[(gpa >> (12 + 9 * level)) & 511]
        if not entry[0]:
            if how != BUILD:
                return NULL
            page = __get_free_page(GFP_KERNEL | __GFP_ZERO)
            if not page:
                return NULL
            entry[0] = __pa(<void *>page) | EPT_RWX
        if how == LOOK and not is_table(entry[0]):
            return NULL
        table = <u64 *>page_behind(entry[0], "entry_of")
    return &table[(gpa >> 12) & 511]


cdef int build_guest_memory(kvm_t *kvm, u64 size) noexcept nogil:
    # size bytes of zeroed memory at GPA 0, read-write-execute, write-back.
    cdef u64 gpa = 0, row = 0
    cdef u64 *entry
    cdef ulong page, first = 0

    if size == 0 or size & (PAGE_SIZE - 1):
        return -EINVAL
    page = __get_free_page(GFP_KERNEL | __GFP_ZERO)
    if not page:
        return -ENOMEM
    kvm.arch.ept_root = __pa(<void *>page)
    kvm.arch.memory_size = size
    while gpa < size:
        entry = entry_of(kvm, gpa, BUILD)
        page = __get_free_page(GFP_KERNEL) if entry else 0
        if not page:
            free_guest_memory(kvm)
            return -ENOMEM
        entry[0] = __pa(<void *>page) | EPT_RWX | EPT_WRITE_BACK | EPT_IGNORE_PAT
        if row and page != first + row:
            clear_pages(<void *>first, row)
            row = 0
        if not row:
            first = page
        row += PAGE_SIZE
        gpa += PAGE_SIZE
    clear_pages(<void *>first, row)
    return 0


cdef int x86_set_memory_region(kvm_t *kvm, u64 gpa) noexcept nogil:
    # A zeroed page of KVM's own at a GPA of the guest, outside the memory that user space gave it.
    cdef u64 *entry
    cdef ulong page

    if gpa < kvm.arch.memory_size:
        return -EEXIST
    entry = entry_of(kvm, gpa, BUILD)
    page = __get_free_page(GFP_KERNEL | __GFP_ZERO) if entry else 0
    if not page:
        return -ENOMEM
    entry[0] = __pa(<void *>page) | EPT_RWX | EPT_WRITE_BACK | EPT_IGNORE_PAT
    return 0


cdef u8 *private_page(kvm_t *kvm, u64 gpa) noexcept nogil:
    return <u8 *>page_behind(entry_of(kvm, gpa, WALK)[0], "private_page")


cdef void free_table(u64 pa, int level) noexcept nogil:
    # Depth first; level 0 is a page of the guest's memory. A page that two entries lead to is a
    # BUG of free_page(), which also ends a loop.
    cdef u64 *table = <u64 *>page_behind(pa, "free_table")
    cdef int i

    if level > 0:
        for i in range(512):
            if table[i]:
                free_table(table[i] & FRAME, level - 1)
    free_page(<ulong>table)


cdef void free_guest_memory(kvm_t *kvm) noexcept nogil:
    cdef stale_page *stale

    while kvm.arch.stale_pages:
        stale = <stale_page *>kvm.arch.stale_pages
        kvm.arch.stale_pages = stale.next
        free_page(stale.page)
        kfree(stale)
    if kvm.arch.ept_root == 0:
        return
    free_table(kvm.arch.ept_root, 4)
    kvm.arch.ept_root = 0


cdef void take_turns() noexcept nogil:
    # Whoever moves the page may be waiting for this CPU to flush.
    if not are_irqs_off():
        local_irq_disable()
        local_irq_enable()
    sched_yield()


cdef u8 *guest_page_get(kvm_t *kvm, u64 gpa) noexcept nogil:
    # The page of L1's memory behind a GPA of the guest, or NULL. It stays there until
    # guest_page_put().
    cdef u64 *entry
    cdef u64 found

    if gpa >= kvm.arch.memory_size:
        return NULL
    entry = entry_of(kvm, gpa, WALK)
    while entry:
        add_users(&kvm.arch.page_users, 1)
        found = (<volatile_u64 *>entry)[0]
        if found & EPT_RWX and is_page(found & FRAME):
            return <u8 *>__va(found & FRAME)
        add_users(&kvm.arch.page_users, -1)
        if not found:
            return NULL
        page_behind(found, "guest_page_get")
        take_turns()
    return NULL


cdef void guest_page_put(kvm_t *kvm) noexcept nogil:
    add_users(&kvm.arch.page_users, -1)


cdef bint guest_page_moves(kvm_t *kvm, u64 gpa) noexcept nogil:
    # Whether an access that found nothing there finds the page if it is tried again.
    cdef u64 *entry
    cdef u64 found

    if gpa >= kvm.arch.memory_size:
        return False
    entry = entry_of(kvm, gpa, LOOK)
    if entry == NULL:
        return False
    found = (<volatile_u64 *>entry)[0]
    if found & EPT_RWX == 0:
        take_turns()
    return found & ~(EPT_RWX | FRAME | EPT_FLAGS) == EPT_WRITE_BACK | EPT_IGNORE_PAT and \
        (found & EPT_RWX == 0 or is_table(found))


cdef int move_guest_page(kvm_t *kvm, u64 gpa) noexcept nogil:
    # What reclaim and migration do to a page: another frame with the same bytes. In between the
    # page is not there, so that no store goes to the old frame once its bytes are copied.
    cdef u64 *entry = entry_of(kvm, gpa, WALK) if gpa < kvm.arch.memory_size else NULL
    cdef u8 *new
    cdef u8 *old

    if entry == NULL or not entry[0]:
        return -EFAULT
    old = <u8 *>page_behind(entry[0], "move_guest_page")
    new = <u8 *>__get_free_page(GFP_KERNEL)
    if new == NULL:
        return -ENOMEM
    and_entry(entry, ~<u64>EPT_RWX)
    kvm_flush_remote_tlbs(kvm)
    while (<volatile_int *>&kvm.arch.page_users)[0]:
        take_turns()
    memcpy(new, old, PAGE_SIZE)
    (<volatile_u64 *>entry)[0] = __pa(new) | entry[0] & ~FRAME | EPT_RWX
    free_page(<ulong>old)
    return 0


cdef int replace_guest_page(kvm_t *kvm, u64 gpa) noexcept nogil:
    # The same without a flush, the bug to look at: the old frame is nobody else's as long as a
    # TLB of the VM's may lead to it.
    cdef u64 *entry = entry_of(kvm, gpa, WALK) if gpa < kvm.arch.memory_size else NULL
    cdef stale_page *stale
    cdef u8 *new

    if entry == NULL or not entry[0]:
        return -EFAULT
    stale = <stale_page *>kmalloc(sizeof(stale_page), GFP_KERNEL)
    new = <u8 *>__get_free_page(GFP_KERNEL)
    if stale == NULL or new == NULL:
        kfree(stale)
        free_page(<ulong>new)
        return -ENOMEM
    stale.page = <ulong>page_behind(entry[0], "replace_guest_page")
    stale.next = <stale_page *>kvm.arch.stale_pages
    kvm.arch.stale_pages = stale
    memcpy(new, <void *>stale.page, PAGE_SIZE)
    (<volatile_u64 *>entry)[0] = __pa(new) | entry[0] & ~FRAME
    return 0


cdef int kvm_mmu_reload(kvm_vcpu_t *vcpu) noexcept nogil:
    if likely(vcpu.arch.mmu.root_hpa != INVALID_ROOT):
        return 0

    vcpu.arch.mmu.root_hpa = vcpu.kvm.arch.ept_root
    kvm_x86_ops.set_tdp_cr3(vcpu, vcpu.arch.mmu.root_hpa)
    return 0
