# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.l0.state cimport l0_partition

cdef enum:
    FAIL_MSR
    FAIL_HYPERCALL
    PREEMPTED
    NR_FAILING

# From now on the nth instruction of a kind fails, on whichever processor; 0 takes it back.
cdef void failing_nth(l0_partition *partition, int kind, long nth) noexcept nogil
# How many instructions of a kind the count still waits for; 0 once it has struck.
cdef long failing_left(int kind) noexcept nogil
# No instruction fails any more.
cdef void failing_none(l0_partition *partition) noexcept nogil
