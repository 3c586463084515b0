# SPDX-License-Identifier: GPL-2.0-only
cdef enum:
    FAIL_PAGE = 0
    FAIL_KMALLOC = 1
    FAIL_VMALLOC = 2
    FAIL_MPROTECT = 3
    NR_FAIL_POINTS = 4

cdef bint should_fail(int point) noexcept nogil
cdef void fail_nth(int point, long nth) noexcept nogil
cdef long fail_left(int point) noexcept nogil
cdef void fail_vmalloc_on(int cpu) noexcept nogil
cdef void fail_none() noexcept nogil
