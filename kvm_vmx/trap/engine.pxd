# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u64, ulong
from kvm_vmx.abi.virt_cpu cimport virt_cpu_ops

cdef struct trap_binding:
    # a thread's signal stack as it was, and which signals it asked for: trap_scope
    u64 scope[4]

# The handler in place for this thread, and away again; 0 or a negative errno.
cdef int trap_bind(trap_binding *binding, void *stack, size_t size) noexcept nogil
cdef void trap_unbind(trap_binding *binding) noexcept nogil
# Tell a function of the registers of an instruction that traps where no single steps are made, and
# make them behind it: SIGTRAP is for whoever asks. 0: no more.
cdef void step_from_trap(size_t function) noexcept nogil
# The instructions of a bare processor, executed as opcodes.
cdef const virt_cpu_ops *trap_ops() except NULL
cdef int check_signals() except -1
# MachineError where the last of them could not be executed.
cdef int check_executed() except -1


cdef class Stacks:
    cdef void *memory
    cdef size_t size
    # the end of the kernel stack; the signal stack lies below it
    cdef ulong kernel_end
    cdef void *signal_stack
    cdef size_t signal_size


cdef Stacks thread_stacks()


cdef class Text:
    cdef readonly u64 address
    cdef size_t size
    cdef void *memory
