# SPDX-License-Identifier: GPL-2.0-only
# Fault injection: the n-th allocation of a kind, or the next vmalloc on a CPU, fails.
from kvm_vmx.abi.types cimport u8
from kvm_vmx.l1.linux.cpu cimport MAX_CPUS
from libc.string cimport memset

cdef extern from "asm/percpu.h" nogil:
    int smp_processor_id()

cdef long countdown[NR_FAIL_POINTS]
cdef u8 vmalloc_fails[MAX_CPUS]


cdef bint should_fail(int point) noexcept nogil:
    if point == FAIL_VMALLOC and vmalloc_fails[smp_processor_id()]:
        vmalloc_fails[smp_processor_id()] = 0
        return True
    if countdown[point] == 0:
        return False
    countdown[point] -= 1
    return countdown[point] == 0


cdef void fail_nth(int point, long nth) noexcept nogil:
    countdown[point] = nth


cdef long fail_left(int point) noexcept nogil:
    # 0 once it has struck
    return countdown[point]


cdef void fail_vmalloc_on(int cpu) noexcept nogil:
    vmalloc_fails[cpu] = 1


cdef void fail_none() noexcept nogil:
    memset(countdown, 0, sizeof(countdown))
    memset(vmalloc_fails, 0, sizeof(vmalloc_fails))
