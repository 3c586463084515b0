# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u64
from kvm_vmx.abi.virt_cpu cimport insn_t, phys_mem, virt_cpu_ops
from kvm_vmx.l0.state cimport l0_partition, l0_refusal, l0_vp

# The process that made something, by number and by how many forks led to it.
cdef struct process_t:
    int number
    int forks

cdef process_t this_process() noexcept nogil
# Whether something was made by a process that this one was forked from.
cdef bint is_foreign(process_t owner) noexcept nogil
# 0; MachineError in a child of the process that made it.
cdef int check_process(process_t owner) except -1

# Who is given it makes an object of a type that nobody makes from outside.
cdef object _MADE

# What L0 has written down of a check that refused, in words; None where that is nothing.
cdef refusal_of(const l0_refusal *found)


cdef class PhysicalMemory:
    cdef phys_mem mem
    cdef process_t owner
    # the second mapping of the same pages
    cdef unsigned char *vmalloc_base
    cdef object __weakref__
    # the kernel that hands out its pages, and the order of each block by its GPA
    cdef object kernel
    cdef dict blocks

    cdef check(self, gpa, length)
    cdef map_without_file(self, size_t size)


cdef class ProcessorState:
    cdef l0_vp *vp
    # the Partition that the state belongs to
    cdef readonly object partition
    cdef process_t owner

    cdef schedule(self, unsigned int what, after)


cdef class Processor(ProcessorState):
    # refusals before the instruction that is under way
    cdef u64 denials

    # how often each basic exit reason has come, as it counts on
    cdef const u64 *reasons(self) noexcept
    cdef const virt_cpu_ops *ops(self) except NULL
    cdef outcome(self, unsigned int status, value=*, why=*)
    cdef enter(self, bint launch, stop_after)
    cdef insn_t to_the_end(self, insn_t status) except? 0x80000000
    cdef bint serve(self) except -1
    cdef forget_stop(self)


cdef class Partition:
    cdef l0_partition *partition
    cdef process_t owner
    cdef readonly PhysicalMemory memory
    cdef readonly object profile
    cdef readonly str cache_policy
    # instructions of its processors execute as opcodes
    cdef readonly bint by_trap
    # the devices that see to what no memory answers, or None
    cdef public object bus
    cdef object __weakref__
