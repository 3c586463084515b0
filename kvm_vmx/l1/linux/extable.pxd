# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u32, ulong

cdef int extable_add(ulong start, ulong end) noexcept nogil
cdef ulong fixup_exception(ulong ip) noexcept nogil
cdef void die(ulong ip, u32 status) noexcept nogil
cdef void stale_exit(ulong rip, ulong rsp) noexcept nogil
