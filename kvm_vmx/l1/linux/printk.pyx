# SPDX-License-Identifier: GPL-2.0-only
# The kernel log: a ring of lines, each kept until LOG_LINES younger ones have come.
from kvm_vmx.abi.linux cimport spin_lock, spin_lock_init, spin_unlock, spinlock_t
from kvm_vmx.abi.types cimport u64, ulong
from libc.string cimport memcpy, strlen

cdef extern from "pthread.h" nogil:
    ulong pthread_self()

cdef extern from *:
    enum:
        __ATOMIC_ACQUIRE
        __ATOMIC_RELEASE
    u64 __atomic_load_n(const u64 *at, int order) nogil
    void __atomic_store_n(u64 *at, u64 value, int order) nogil

cdef char ring[LOG_LINES][LOG_LINE_MAX]
cdef ulong writer[LOG_LINES]
cdef u64 sequence_end = 0
cdef u64 warnings = 0
cdef spinlock_t log_lock = 0


cdef void log_emit(int level, const char *text) noexcept nogil:
    cdef size_t length = strlen(text)
    cdef char *line

    while length > 0 and text[length - 1] == c'\n':
        length -= 1
    if length >= LOG_LINE_MAX:
        length = LOG_LINE_MAX - 1
    spin_lock(&log_lock)
    line = ring[sequence_end % LOG_LINES]
    memcpy(line, text, length)
    line[length] = 0
    writer[sequence_end % LOG_LINES] = pthread_self()
    # a line is there for whoever reads without the lock once it is counted
    __atomic_store_n(&sequence_end, sequence_end + 1, __ATOMIC_RELEASE)
    spin_unlock(&log_lock)


cdef void log_warn() noexcept nogil:
    global warnings
    warnings += 1


cdef void log_clear() noexcept nogil:
    global sequence_end, warnings
    spin_lock_init(&log_lock)
    sequence_end = 0
    warnings = 0


cdef u64 log_end() noexcept nogil:
    return __atomic_load_n(&sequence_end, __ATOMIC_ACQUIRE)


cdef const char *log_line(u64 sequence) noexcept nogil:
    return ring[sequence % LOG_LINES]


cdef bint log_is_mine(u64 sequence) noexcept nogil:
    # Whether the calling thread has written the line.
    return writer[sequence % LOG_LINES] == pthread_self()


cdef u64 log_warnings() noexcept nogil:
    return warnings
