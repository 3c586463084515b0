# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.linux cimport task_struct
from kvm_vmx.abi.types cimport u8
from kvm_vmx.abi.virt_cpu cimport phys_mem, virt_cpu

cdef int start_kernel(const phys_mem *mem, u8 *vmalloc_window, virt_cpu **cpus, int possible, int online) noexcept nogil
cdef void start_platform() noexcept nogil
cdef void shutdown_platform() noexcept nogil
cdef void shutdown_kernel() noexcept nogil
