# SPDX-License-Identifier: GPL-2.0-only
cdef void vmbus_init() noexcept nogil
