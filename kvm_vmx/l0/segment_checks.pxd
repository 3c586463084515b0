# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.hyperv_tlfs cimport hv_enlightened_vmcs
from kvm_vmx.abi.types cimport u32

# Are the eight segment registers of the guest-state area as an entry needs them?
cdef bint segments_valid(const hv_enlightened_vmcs *f, u32 secondary) noexcept nogil
