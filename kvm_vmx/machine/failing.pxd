# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u32
from kvm_vmx.l0.state cimport l0_partition

cdef enum:
    FAIL_MSR
    FAIL_ONE_MSR
    FAIL_HYPERCALL
    PREEMPTED
    NR_FAILING

# From now on the nth instruction of a kind fails, on whichever processor; 0 takes it back.
cdef void failing_nth(l0_partition *partition, int kind, long nth) noexcept nogil
# Which MSR FAIL_ONE_MSR is about.
cdef void failing_msr(u32 msr) noexcept nogil
# The instructions that have failed so since failing_none(), in words.
cdef list failing_struck()
# How many instructions of a kind the count still waits for; 0 once it has struck.
cdef long failing_left(int kind) noexcept nogil
# No instruction fails any more.
cdef void failing_none(l0_partition *partition) noexcept nogil
