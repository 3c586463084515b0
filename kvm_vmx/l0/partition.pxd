# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u32, u64
from kvm_vmx.abi.virt_cpu cimport phys_mem
from kvm_vmx.l0.state cimport l0_partition, l0_profile, l0_vp

# A partition of nr_vps processors after reset, or NULL without memory. mem is not owned and
# outlives it.
cdef l0_partition *partition_create(
    const phys_mem *mem, const l0_profile *profile, u32 nr_vps, u32 cache_policy, u64 seed,
    bint strict, bint watch) noexcept nogil
cdef void partition_destroy(l0_partition *partition) noexcept nogil
cdef void vp_reset(l0_vp *vp) noexcept nogil
