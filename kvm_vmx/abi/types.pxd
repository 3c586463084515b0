# SPDX-License-Identifier: GPL-2.0-only
# The kernel's types, bits and lists, and the compiler's hints, for Cython.

cdef extern from "linux/types.h" nogil:
    ctypedef unsigned char u8
    ctypedef unsigned short u16
    ctypedef unsigned int u32
    ctypedef unsigned long long u64
    ctypedef signed char s8
    ctypedef short s16
    ctypedef int s32
    ctypedef long long s64
    ctypedef unsigned long ulong "unsigned long"
    ctypedef u64 gpa_t
    ctypedef u64 gva_t
    ctypedef u64 hpa_t
    ctypedef u64 gfn_t
    enum:
        BITS_PER_LONG
        PAGE_SHIFT
        ENOTSUPP
    const u64 PAGE_SIZE
    const u64 PAGE_MASK

cdef extern from "linux/compiler.h" nogil:
    bint likely(bint condition)
    bint unlikely(bint condition)
    bint IS_ENABLED(bint option)
    void BUILD_BUG_ON_MSG(bint condition, const char *msg)
    void BUILD_BUG_ON(bint condition)
    void barrier()
    void smp_mb()
    void smp_rmb()
    void smp_wmb()
    void wmb()
    void smp_mb__before_atomic()
    void smp_mb__after_atomic()
    const bint CONFIG_HYPERV
    const bint CONFIG_JUMP_LABEL

cdef extern from "linux/bitops.h" nogil:
    void __set_bit(long nr, ulong *word)
    void __clear_bit(long nr, ulong *word)
    bint test_bit(long nr, const ulong *word)
    void set_bit(long nr, ulong *word)
    void clear_bit(long nr, ulong *word)
    ulong find_first_zero_bit(const ulong *word, ulong size)
    ulong BIT(ulong nr)

cdef extern from "linux/list.h" nogil:
    ctypedef struct list_head "struct list_head":
        list_head *next
        list_head *prev

    void INIT_LIST_HEAD(list_head *head)
    void list_add(list_head *link, list_head *head)
    void list_del(list_head *link)
    bint list_empty(const list_head *head)
    bint list_step(void **at, list_head *head, size_t link)
    bint list_step_safe(void **at, void **behind, list_head *head, size_t link)

cdef extern from "errno.h" nogil:
    enum:
        ENOENT
        EINTR
        EIO
        ENXIO
        E2BIG
        EAGAIN
        ENOMEM
        EFAULT
        EBUSY
        EEXIST
        EOPNOTSUPP
        ENODEV
        EINVAL
        ENOSPC
