# SPDX-License-Identifier: GPL-2.0-only
# Fault injection: the n-th allocation of a kind, or the next vmalloc on a CPU, fails.
from kvm_vmx.abi.types cimport u8
from kvm_vmx.l1.linux.cpu cimport MAX_CPUS
from libc.string cimport memset

cdef extern from "asm/percpu.h" nogil:
    int smp_processor_id()

cdef extern from *:
    enum:
        __ATOMIC_RELAXED
    long __atomic_load_n(const long *at, int order) nogil
    void __atomic_store_n(long *at, long value, int order) nogil
    bint __atomic_compare_exchange_n(long *at, long *expected, long value, bint weak, int then,
                                     int otherwise) nogil

# set beside the calls that count them down
cdef long countdown[NR_FAIL_POINTS]
cdef u8 vmalloc_fails[MAX_CPUS]


cdef bint should_fail(int point) noexcept nogil:
    cdef long left

    if point == FAIL_VMALLOC and vmalloc_fails[smp_processor_id()]:
        vmalloc_fails[smp_processor_id()] = 0
        return True
    left = __atomic_load_n(&countdown[point], __ATOMIC_RELAXED)
    while left and not __atomic_compare_exchange_n(
            &countdown[point], &left, left - 1, True, __ATOMIC_RELAXED, __ATOMIC_RELAXED):
        pass
    return left == 1


cdef void fail_nth(int point, long nth) noexcept nogil:
    __atomic_store_n(&countdown[point], nth, __ATOMIC_RELAXED)


cdef long fail_left(int point) noexcept nogil:
    # 0 once it has struck
    return __atomic_load_n(&countdown[point], __ATOMIC_RELAXED)


cdef void fail_vmalloc_on(int cpu) noexcept nogil:
    vmalloc_fails[cpu] = 1


cdef void fail_none() noexcept nogil:
    memset(countdown, 0, sizeof(countdown))
    memset(vmalloc_fails, 0, sizeof(vmalloc_fails))
