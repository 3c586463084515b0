# SPDX-License-Identifier: GPL-2.0-only

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
