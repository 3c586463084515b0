# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.linux cimport task_struct

# From begin to end a signal that Python handles kicks the vCPU that this thread runs. False: this
# thread is not the one that handles them, or nobody can watch. Raises what a handler raises.
cdef bint kick_begin() except -1
cdef int kick_end() except -1
# Let the handlers run whose signals have come.
cdef int kick_check() except -1
# Whether this thread is the one that handles them.
cdef bint kick_handles() except -1
# Whom to kick.
cdef void kick_from(task_struct *task, int cpu) noexcept nogil
cdef void kick_till(const task_struct *task) noexcept nogil
