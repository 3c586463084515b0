# SPDX-License-Identifier: GPL-2.0-only
from kvm_vmx.abi.types cimport u32, u64
from kvm_vmx.l0.state cimport l0_caps, l0_vmcs, l0_vp

cdef bint ept_pointer_valid(const l0_caps *caps, u64 eptp) noexcept nogil
# Are the control fields, and the host-state area, as an entry needs them? Those whose clean
# groups are not dirty were.
cdef bint controls_valid(
    l0_vp *vp, const l0_vmcs *v, bint enlightened, u32 dirty) noexcept nogil
cdef bint host_state_valid(l0_vp *vp, const l0_vmcs *v, u32 dirty) noexcept nogil

cdef inline u32 secondary_controls(const l0_vmcs *v) noexcept nogil:
    # bit 31 of the primary controls says whether there are any
    return v.f.secondary_vm_exec_control if v.f.cpu_based_vm_exec_control >> 31 else 0
