# SPDX-License-Identifier: GPL-2.0-only
# C: virt/kvm/kvm_main.c
from kvm_vmx.l1.kvm_host cimport kvm_x86_ops_t

cdef int kvm_init(void *opaque, unsigned int vcpu_size, unsigned int vcpu_align, void *module) noexcept nogil
cdef void kvm_exit() noexcept nogil
