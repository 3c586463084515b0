# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u64

cdef enum:
    LOG_LINES = 2048
    LOG_LINE_MAX = 512

cdef void log_emit(int level, const char *text) noexcept nogil
cdef void log_warn() noexcept nogil
cdef void log_clear() noexcept nogil
cdef u64 log_end() noexcept nogil
cdef const char *log_line(u64 sequence) noexcept nogil
cdef bint log_is_mine(u64 sequence) noexcept nogil
cdef u64 log_warnings() noexcept nogil
